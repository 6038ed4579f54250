"""Live, logged, read online, computed over a table and as served: the same bits, and those of the slow oracle.

``HEADRACE_EQUALITY_VALUES`` says how many values are compared: 200,000 in the default run, 10 million by `make proof`.
"""

import itertools
import os

from tests.equality import Report, compare_engines


def test_every_engine_gives_the_oracles_values_bit_for_bit() -> None:
    wanted, report = int(os.environ.get("HEADRACE_EQUALITY_VALUES", "200000")), Report()

    for seed in itertools.count():
        compare_engines(seed, report)
        if report.values >= wanted or len(report.differences) > 20:
            break

    print(f"{report.values:,} values of {seed + 1:,} streams compared, {len(report.differences)} differ")
    assert report.differences == []
