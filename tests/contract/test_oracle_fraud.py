"""The fraud handbook's published feature values, against ours, over every transaction."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from headrace.cli.main import main
from tests.shared_data import shared_file

pytestmark = pytest.mark.oracle

_PROJECT = Path(__file__).parents[2] / "examples" / "fraud"
_PUBLISHED = {
    "calendar__weekend": "TX_DURING_WEEKEND",
    "calendar__night": "TX_DURING_NIGHT",
    **{
        f"{ours}_{days}d": f"{theirs}_{days}DAY_WINDOW"
        for ours, theirs in (
            ("customer_activity__count", "CUSTOMER_ID_NB_TX"),
            ("customer_activity__mean_tx_amount", "CUSTOMER_ID_AVG_AMOUNT"),
            ("terminal_risk__count", "TERMINAL_ID_NB_TX"),
            ("terminal_risk__mean_tx_fraud", "TERMINAL_ID_RISK"),
        )
        for days in (1, 7, 30)
    },
}


def test_every_published_value_is_met(tmp_path: Path) -> None:
    """14 features of all rows; where a customer has two transactions in one second the publishers' order is unknown."""
    events = shared_file("fraud", "events.parquet")
    expected = pq.read_table(shared_file("fraud", "expected_features_sample.parquet"))
    out = tmp_path / "features.parquet"

    code = main(["features", "compute", "--project", str(_PROJECT), "--events", str(events), "--out", str(out)])

    assert code == 0
    actual = pq.read_table(out)
    assert actual["transaction_id"].to_pylist() == expected["TRANSACTION_ID"].to_pylist()
    comparable = ~expected["CUSTOMER_TIE"].to_numpy()
    table, mismatches = [f"{'feature':<40}{'rows':>10}{'mismatches':>12}{'largest difference':>20}"], 0
    for ours, theirs in _PUBLISHED.items():
        ties = comparable if ours.startswith("customer_activity") else np.ones_like(comparable)
        difference = np.abs(actual[ours].to_numpy() - expected[theirs].to_numpy().astype(np.float64))[ties]
        wrong = int(np.count_nonzero(~(difference <= 1e-9)))
        mismatches += wrong
        table.append(f"{ours:<40}{len(difference):>10,}{wrong:>12}{difference.max():>20.1e}")
    print("\n".join(table))
    assert mismatches == 0
    assert len(_PUBLISHED) == actual.num_columns - 1 == 14
