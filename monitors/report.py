"""The confirming report: Evidently on fixed methods and thresholds, as one HTML file kept with the incident.

Run as a child process (``python -m monitors.report``): Evidently costs seconds and 300 MB to import. Its defaults
choose another method at 1,000 rows and alarm on most small stable windows, so method and threshold are always given.
It drops nulls before testing; nulls have a monitor of their own.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from headrace.durable_files import write_file

__all__ = ["main", "make_report"]

METHOD = "psi"


def make_report(reference: Path, current: Path, out: Path, *, threshold: float) -> int:
    """Compare two Parquet samples column by column and write the HTML; returns the number of drifted columns."""
    os.environ.update(DO_NOT_TRACK="1")  # any value turns telemetry off
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    expected, seen = pd.read_parquet(reference), pd.read_parquet(current)
    # A column that is null throughout makes Evidently raise.
    columns = [
        name for name in expected.columns if name in seen and seen[name].notna().any() and expected[name].notna().any()
    ]
    definition = DataDefinition(numerical_columns=columns)
    report = Report(
        [ValueDrift(column=name, method=METHOD, threshold=threshold) for name in columns], include_tests=True
    )
    result = report.run(
        Dataset.from_pandas(seen[columns], data_definition=definition),
        Dataset.from_pandas(expected[columns], data_definition=definition),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_file(out, result.get_html_str(as_iframe=False).encode())
    return sum(test["status"] == "FAIL" for test in result.dict()["tests"])


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of the child process."""
    parser = argparse.ArgumentParser(prog="python -m monitors.report", description="Write an Evidently drift report.")
    parser.add_argument("--reference", type=Path, required=True, help="Parquet sample of the training set")
    parser.add_argument("--current", type=Path, required=True, help="Parquet sample of the window")
    parser.add_argument("--out", type=Path, required=True, help="HTML file to write")
    parser.add_argument("--threshold", type=float, required=True, help="PSI from which a column counts as drifted")
    args = parser.parse_args(argv)
    drifted = make_report(args.reference, args.current, args.out, threshold=args.threshold)
    print(f"{drifted} columns drifted; {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
