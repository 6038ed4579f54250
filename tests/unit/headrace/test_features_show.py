"""A definition shown: in words, and its windows drawn so that longer is longer and a delay is a gap before q."""

import json
from pathlib import Path

import pytest

from headrace import EventStream, FeatureView, Int64, count, lifetime, session, sliding, tumbling
from headrace.cli.feature_pictures import draw
from headrace.cli.main import main

_EXAMPLE = Path(__file__).parents[3] / "examples" / "fraud"
DAY_US = 86_400_000_000
STREAM = EventStream("s", key="k", time="t", id="i", schema={"k": Int64})


@pytest.mark.parametrize(
    ("window", "delay", "closed", "shown"),
    [
        ("10d", "0s", "left", "[════════════════════════════════════════)q  10d"),
        ("5d", "0s", "right", "(════════════════════]q  5d"),
        ("5d", "5d", "both", "[════════════════════]····················q  5d, 5d ago"),
        (sliding("5d", hop="1d"), "0s", "left", "|════════════════════)q  5d, old edge on a grid of 1d"),
        (tumbling("1d"), "0s", "neither", "|════)q  1d, the one q lies in, so far"),
        (tumbling("1d", completed=True), "0s", "left", "|════)q  1d, the last whole one"),
        (session("30m"), "0s", "left", "[════)q  1d, pauses ≤ 30m"),
        (lifetime(), "0s", "right", "●════════════════════════════════════════]q  since ever"),
    ],
)  # fmt: skip
def test_windows_are_drawn_to_scale(window: object, delay: str, closed: str, shown: str) -> None:
    (feature,) = count().over(window, delay=delay)
    view = FeatureView("v", entity="k", source=STREAM, closed=closed, features=[feature])

    assert draw(feature, view, 10 * DAY_US).strip() == shown


def test_a_view_and_a_feature_are_shown_in_words_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features", "show", "terminal_risk", "--project", str(_EXAMPLE)]) == 0
    text = capsys.readouterr().out
    assert "of 'transactions' by 'terminal_id', closed right" in text
    assert "mean of tx_fraud; empty: 0" in text

    name = "customer_activity__count_7d"
    assert main(["features", "show", name, "--project", str(_EXAMPLE), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [feature["name"] for feature in found["features"]] == [name]

    assert main(["features", "show", "nothing", "--project", str(_EXAMPLE)]) != 0
    assert "headrace features list" in capsys.readouterr().err
