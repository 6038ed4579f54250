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


@pytest.mark.parametrize(("name", "features"), [("calendar", ["weekend", "night"]), ("calendar__weekend", ["weekend"])])
def test_features_of_the_event_itself_are_shown_with_their_function(
    name: str, features: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["features", "show", name, "--project", str(_EXAMPLE)]) == 0
    text = capsys.readouterr().out
    assert "calendar: computed from each event of 'transactions'" in text
    assert 'return {"weekend": weekday >= 5, "night": hour <= 6}' in text
    assert [line for line in text.splitlines() if line.startswith("calendar__")] == [f"calendar__{f}" for f in features]

    assert main(["features", "show", name, "--project", str(_EXAMPLE), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["request"], found["of"]) == ("calendar", ["transactions"])
    assert found["features"] == [{"name": f"calendar__{feature}", "type": "number"} for feature in features]


def test_derived_features_are_shown_with_what_they_are_made_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cards.py").write_text(
        "from headrace import DerivedFeatures, EventStream, FeatureView, Int64, count\n"
        'pay = EventStream("pay", key="card", time="at", id="id", schema={"card": Int64})\n'
        'use = FeatureView("use", entity="card", source=pay, features=[count().over("1h", "1d")])\n'
        "def share(known):\n"
        '    return {"of_day": known["use__count_1h"] / known["use__count_1d"]}\n'
        'pace = DerivedFeatures("pace", of=(use,), fn=share)\n'
    )

    for name in ("pace", "pace__of_day"):
        assert main(["features", "show", name, "--project", str(tmp_path)]) == 0
        text = capsys.readouterr().out
        assert "pace: derived from 'use'" in text
        assert "def share(known):" in text
        assert "\npace__of_day\n" in text
    assert main(["features", "show", "pace", "--project", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["derived"] == "pace"
