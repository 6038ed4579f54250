"""The stream scorer reads JSON; it says what it leaves out, and asks no server for it."""

import logging
import threading
from pathlib import Path

import pytest

from headrace import ArrowBatches, Avro
from headrace.config import Settings
from headrace.spec.formats import Format
from serving.stream_scorer import StreamScorer
from tests.unit.serving.cards import cards_project


@pytest.mark.parametrize("form", [Avro(), ArrowBatches()])
def test_a_stream_that_is_not_json_is_named_and_left_out(
    form: Format, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("serving.stream_scorer")
    monkeypatch.setattr(logger, "disabled", False)  # a library another test has used may have switched it off
    caplog.set_level(logging.WARNING, logger=logger.name)
    stop = threading.Event()
    stop.set()
    scorer = StreamScorer(Settings(home=tmp_path), cards_project(form=form), stop)

    scorer.run()

    assert scorer.scored == 0
    assert [entry.message for entry in caplog.records] == ["not scored: only JSON is read here"]
