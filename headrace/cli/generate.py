"""``headrace generate``: a seeded stream of card transactions as Parquet."""

import argparse
import sys
from pathlib import Path

from headrace.cli.output_file import check_output


def configure(parser: argparse.ArgumentParser) -> None:
    from headrace.demo.generator import DRIFTS

    kinds = "\n".join(f"  {kind:<11} {what}" for kind, what in DRIFTS.items())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"drifts, each written kind@day:strength:\n{kinds}\n\nThe same arguments give the same bytes."
    parser.add_argument("--out", required=True, type=Path, help="Parquet file to write: events with their labels")
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--customers", type=int, default=1_250)
    parser.add_argument("--terminals", type=int, default=2_500)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--drift", action="append", default=[], metavar="KIND@DAY:STRENGTH", help="may be repeated")


def run(args: argparse.Namespace) -> int:
    import pyarrow.parquet as pq

    from headrace.demo.generator import World, generate, parse_drift

    check_output(args.out, {})
    world = World(
        days=args.days,
        customers=args.customers,
        terminals=args.terminals,
        seed=args.seed,
        drifts=tuple(parse_drift(text) for text in args.drift),
    )
    table = generate(world)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, args.out, compression="zstd")
    frauds = sum(table["tx_fraud"].to_pylist())
    share = frauds / table.num_rows
    print(
        f"{table.num_rows:,} events of {args.days} days, {frauds:,} frauds ({share:.2%}) -> {args.out}", file=sys.stderr
    )
    return 0
