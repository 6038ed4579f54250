"""What sketches over a lifetime cost: CPU of a row in the stream, in a read and in a file, and bytes of a key.

python -m tests.bench.sketch_cost --keys 2000 --values 500
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

import headrace as hr
from feature_store.compute import EventColumns, features_at
from feature_store.online.online_decoder import RowDecoder
from feature_store.online.online_encoder import RowEncoder
from feature_store.plan import ViewPlan, compile_view
from feature_store.state.view_state import ViewState
from headrace import FeatureView, Int64, lifetime
from tests.stored_rows import stored_rows

_STREAM = hr.EventStream(
    "events", key="key", time="at", id="id", lateness="10s", schema={"key": Int64, "x": Int64, "id": Int64}
)
_FEATURES = {
    "count, to compare": hr.count(),
    "approx_distinct": hr.approx_distinct("x"),
    "approx_quantile": hr.approx_quantile("x", "0.95"),
    "approx_top_k": hr.approx_top_k("x", 10),
}
_SECOND = 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--keys", type=int, default=2000)
    parser.add_argument("--values", type=int, default=500, help="of each key")
    asked = parser.parse_args()
    for title, aggregation in _FEATURES.items():
        view = FeatureView("v", entity="key", source=_STREAM, features=aggregation.over(lifetime()))
        _measure(title, compile_view(view), asked.keys, asked.values)


def _measure(title: str, plan: ViewPlan, keys: int, values: int) -> None:
    """Each second every key has one event more; ten of each are retained."""
    rng = np.random.default_rng(1)
    n = keys * values
    names, times = np.tile(np.arange(keys), values), np.repeat(np.arange(values), keys) * _SECOND
    inputs = rng.zipf(1.2, n).clip(max=2**40).reshape(1, n)[: len(plan.inputs)]
    state, encoder, decoder, spent, row_bytes = ViewState(plan), RowEncoder(plan, "p"), RowDecoder(plan), 0.0, {}
    for second in range(values):
        part = slice(second * keys, (second + 1) * keys)
        state.apply(names[part], times[part], np.arange(part.start, part.stop), inputs[:, part])
        state.advance(int(times[part.stop - 1]))
        started = time.process_time()
        drained = state.drain(log=False)
        spent += time.process_time() - started
    row_bytes = stored_rows(encoder, drained.latest, watermark_us=state.watermark_us)
    instants, nobody = [int(times[-1]) + 1] * keys, [None] * keys
    rows = [row_bytes[key] for key in range(keys)]
    read = _cpu(lambda: decoder.decode(rows, instants, nobody))
    events = EventColumns(keys=names, times_us=times, ids=np.arange(n), inputs=np.ascontiguousarray(inputs))
    file = _cpu(lambda: features_at(plan, events, names, times))
    saved = state.snapshot().get("sketch_sizes", np.zeros(1))
    print(
        f"{title:18} µs a row: stream {spent / n * 1e6:6.2f}  read {read / keys * 1e6:6.2f}  file {file / n * 1e6:6.2f}"
        f"   bytes a key: sketch {saved.sum() / keys:6.0f}  row online {sum(map(len, rows)) / keys:6.0f}"
    )


def _cpu(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
