"""Signals and queries of the workflows: names and messages, shared by those who send and those who receive.

Messages are frozen dataclasses of plain values; new fields come with defaults and are never renamed, because
running workflows and stored histories carry them. Durations on the wire are integer microseconds.
"""

from dataclasses import dataclass, field

from headrace.contracts.monitoring import RolloutEvidence

__all__ = [
    "CONTROL_QUEUE",
    "GPU_QUEUE",
    "ControllerStart",
    "ControllerState",
    "Observation",
    "OperatorCommand",
    "controller_id",
    "retrain_id",
    "rollout_workflow_id",
]

CONTROL_QUEUE = "headrace-control"
"""Task queue of workflows and light activities."""
GPU_QUEUE = "gpu"
"""Task queue of training; one slot per device."""

CONTROLLER_WORKFLOW = "ModelController"
RETRAIN_WORKFLOW = "Retrain"
ROLLOUT_WORKFLOW = "Rollout"

SIGNAL_OBSERVE = "observe"
SIGNAL_COMMAND = "command"
QUERY_STATE = "state"


def controller_id(model: str) -> str:
    """Workflow id of a model's one controller."""
    return f"model/{model}"


def retrain_id(model: str, number: int) -> str:
    """Workflow id of a model's n-th retraining run; a repeated cause cannot start a second one."""
    return f"retrain/{model}/{number}"


def rollout_workflow_id(model: str, rollout_id: str) -> str:
    return f"rollout/{model}/{rollout_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerStart:
    """Argument of the controller workflow."""

    project: str
    """Path of the project folder, as the worker sees it."""
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Event time has moved on, and this is what monitors see: one per window, coalesced by the controller."""

    model: str
    window: int
    at_us: int
    requests_retrain: bool = False
    """A model incident is confirmed."""
    blocks_retrain: bool = False
    """A data incident is open."""
    causes: tuple[str, ...] = ()
    incident: str = ""
    """Dedup key."""
    evidence: RolloutEvidence | None = None
    tripped: str = ""
    """Set when serving rolled back by itself: the reason; the workflow follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorCommand:
    """What a person asked for."""

    action: str
    """``retrain``, ``promote``, ``rollback``, ``pause``, ``resume``, ``approve``, ``decline``, ``override``."""
    by: str
    reason: str = ""
    version: str = ""
    """``override``: roll out this registered version without gates."""
    at_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerState:
    """Answer of the controller's ``state`` query."""

    model: str
    phase: str
    """``idle``, ``cooling``, ``blocked``, ``retraining``, ``awaiting_approval``, ``rolling_out``."""
    settled_window: int
    """Newest observation window fully acted upon; nothing is running that event time would not wake."""
    at_us: int
    champion: str = ""
    challenger: str = ""
    stage: str = ""
    retrains: int = 0
    rejected: int = 0
    rollouts: int = 0
    rollbacks: int = 0
    promotions: int = 0
    cool_until_us: int = 0
    pending: tuple[str, ...] = ()
    """Causes waiting for the next run."""
    history: tuple[str, ...] = ()
    """Newest decisions, one sentence each."""
    links: dict[str, str] = field(default_factory=dict)
