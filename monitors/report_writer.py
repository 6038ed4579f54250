"""Publishes window reports, each once, with the rows behind a suspicion kept beside."""

from dataclasses import replace

from headrace.clock import format_us
from headrace.config import Settings
from headrace.contracts.codec import decode
from headrace.contracts.monitoring import DATA_CAUSES, WindowReport
from headrace.contracts.topics import DRIFT
from headrace.errors import IntegrityError
from headrace.kafka_clients import read_topic
from headrace.kafka_sender import Sender
from headrace.logging import get_logger
from monitors.model_monitor import WindowOutcome
from monitors.reference import Reference
from monitors.samples import sample_path, write_sample

__all__ = ["ReportWriter"]

_log = get_logger(__name__)


class ReportWriter:
    """Writes to the drift topic; reads it once to know what is there already.

    Args:
        settings: where things are.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sender = Sender(settings)
        self._until_us: dict[str, int] = {}
        """Model -> end of its newest published window."""
        for message in read_topic(settings, DRIFT.name):
            try:
                report = decode(message.value() or b"", WindowReport)
            except IntegrityError:
                continue  # somebody else's bytes; the agents say so
            self._until_us[report.model] = max(report.until_us, self._until_us.get(report.model, 0))

    def write(self, outcome: WindowOutcome, reference: Reference | None) -> None:
        """Publish a report, unless an earlier run of this monitor has."""
        report = outcome.report
        if report.until_us <= self._until_us.get(report.model, 0):
            return
        report = self._with_samples(outcome, reference)
        self._sender.send_contract(DRIFT, report, key=report.model)
        self._until_us[report.model] = report.until_us
        alarming = [f"{verdict.cause}:{verdict.subject}" for verdict in report.verdicts if verdict.alarming]
        _log.info(
            "window closed",
            model=report.model,
            window=report.window,
            until=format_us(report.until_us),
            rows=report.rows,
            version=report.version or "-",
            alarming=",".join(dict.fromkeys(alarming)) or "-",
        )

    def flush(self) -> None:
        """Wait until the broker has everything.

        Raises:
            UnavailableError: it did not take it.
        """
        self._sender.flush()

    def _with_samples(self, outcome: WindowOutcome, reference: Reference | None) -> WindowReport:
        report = outcome.report
        is_suspicious = any(verdict.alarming and verdict.cause not in DATA_CAUSES for verdict in report.verdicts)
        if not is_suspicious or reference is None or not len(outcome.inputs):
            return report
        expected = sample_path(self._settings, report.model, f"reference-{report.version}")
        current = sample_path(self._settings, report.model, f"window-{report.window}")
        if not expected.exists():
            write_sample(expected, reference.features.names, reference.features.sample_SC)
        write_sample(current, outcome.names, outcome.inputs)
        return replace(report, reference_path=str(expected), current_path=str(current))
