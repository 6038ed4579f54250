"""``python -m tests.fuzz``: hostile messages for every decoder; ends with 1 and the input when one gets through."""

import argparse
import faulthandler
import resource
import sys
import time

import pyarrow as pa

from tests.fuzz.decoders import TARGETS, check

_BATCH = 500
_MOST_ARROW_BYTES = 256_000_000
_MOST_GROWTH_KIB = 500_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="messages, all decoders together")
    parser.add_argument("--seed", type=int, default=0, help="first batch; a failure names its own")
    parser.add_argument("--only", choices=sorted(TARGETS), action="append", help="this decoder only")
    given = parser.parse_args()
    faulthandler.enable()
    targets = {name: TARGETS[name]() for name in given.only or TARGETS}
    batches = -(-given.inputs // (_BATCH * len(targets)))
    ends: dict[str, dict[str, int]] = {name: {} for name in targets}
    began, warm_kib = time.process_time(), 0
    for batch in range(given.seed, given.seed + batches):
        for name, target in targets.items():
            # Said before the try: bytes that kill the process are found again by their batch.
            print(f"\rbatch {batch} {name}   ", end="", file=sys.stderr, flush=True)
            try:
                found = check(target, (batch,), _BATCH)
            except Exception as error:
                print(f"\n{name}, --seed {batch}: {type(error).__name__}: {error}", file=sys.stderr)
                raise
            for end, count in found.items():
                ends[name][end] = ends[name].get(end, 0) + count
        if batch == given.seed + 20:
            warm_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spent_s = time.process_time() - began
    growth_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - warm_kib if warm_kib else 0
    arrow_bytes = pa.default_memory_pool().max_memory()
    print(f"\n{batches * _BATCH * len(targets):,} inputs in {spent_s:,.0f} s of processor time", file=sys.stderr)
    for name, counts in ends.items():
        print(f"{name}: {', '.join(f'{end} {count:,}' for end, count in sorted(counts.items()))}")
    print(f"memory grew by {growth_kib / 1024:,.0f} MiB; Arrow held {arrow_bytes / 2**20:,.0f} MiB at most")
    return int(growth_kib > _MOST_GROWTH_KIB or arrow_bytes > _MOST_ARROW_BYTES)


if __name__ == "__main__":
    sys.exit(main())
