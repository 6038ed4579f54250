"""What Temporal is told about a failure, and that long work says it lives."""

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from headrace.errors import IntegrityError, RejectedError, UnavailableError
from workflows import activity_edge
from workflows.activity_edge import activity_named, alive


class Failing:
    """Raises what it is given."""

    @activity_named("fail")
    def fail(self, error: Exception) -> None:
        raise error


@pytest.mark.parametrize(
    ("error", "retried"),
    [
        (UnavailableError("Redis is away"), True),
        (RejectedError("not from steady"), False),
        (IntegrityError("digest differs"), False),
        (ZeroDivisionError("a defect"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_says_whether_trying_again_is_right(error: Exception, retried: bool) -> None:
    with pytest.raises(ApplicationError) as caught:
        ActivityEnvironment().run(Failing().fail, error)

    assert caught.value.non_retryable is not retried
    assert caught.value.type == type(error).__name__
    assert str(error.args[0]) in str(caught.value)


def test_a_disk_error_is_left_to_be_tried_again() -> None:
    with pytest.raises(OSError, match="no space"):
        ActivityEnvironment().run(Failing().fail, OSError("no space"))


def test_the_hint_reaches_the_page() -> None:
    with pytest.raises(ApplicationError, match="start it"):
        ActivityEnvironment().run(Failing().fail, UnavailableError("away", hint="start it"))


def test_long_work_beats_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    beaten = threading.Event()
    environment = ActivityEnvironment()
    environment.on_heartbeat = lambda *_: beaten.set()
    monkeypatch.setattr(activity_edge, "_BEAT_S", 0.01)

    def work() -> bool:
        with alive():
            return beaten.wait(5)

    assert environment.run(work)
