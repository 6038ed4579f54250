"""``headrace doctor``: one sentence for each thing that matters, and the next step where one is due."""

import argparse
from pathlib import Path

from headrace.config import load_settings

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--home", type=Path, metavar="DIR", help="folder of data, logs and state (HEADRACE_HOME or .headrace)"
    )


def run(args: argparse.Namespace) -> int:
    """Examine and print; 1 when something is wrong."""
    from headrace.local.examination import Verdict, examine

    wrong = 0
    for finding in examine(load_settings(args.home)):
        print(f"{finding.verdict:<5}  {finding.sentence}")
        if finding.next_step:
            print(f"       -> {finding.next_step}")
        wrong += finding.verdict is Verdict.WRONG
    print(f"\n{wrong} thing{'s' if wrong != 1 else ''} to put right." if wrong else "\nNothing is wrong.")
    return 1 if wrong else 0
