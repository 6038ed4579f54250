"""What a controller shows: its phase, the answer to its query, and the text on Temporal's page. Pure."""

from dataclasses import dataclass

from headrace.contracts.control import ControllerState
from workflows.decisions import Wait
from workflows.memory import ControllerMemory

__all__ = ["Flight", "details", "phase", "state"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """What is in flight, which memory does not know."""

    retraining: bool
    rolling_out: bool
    waits_for: Wait


def phase(memory: ControllerMemory, flight: Flight) -> str:
    """One word for where the controller stands, as listed in contracts.control.ControllerState."""
    if flight.retraining:
        return "retraining"
    if flight.rolling_out:
        return "rolling_out"
    if memory.candidate is not None:
        return "awaiting_approval"
    if memory.blocked:
        return "blocked"
    return "cooling" if memory.at_us < memory.cool_until_us else "idle"


def state(model: str, memory: ControllerMemory, flight: Flight, links: dict[str, str]) -> ControllerState:
    """Answer of the state query."""
    record = memory.record
    manual = (memory.manual,) if memory.manual else ()
    return ControllerState(
        model=model,
        phase=phase(memory, flight),
        settled_window=memory.settled_window,
        at_us=memory.at_us,
        champion=record.champion if record is not None else "",
        challenger=(record.challenger or "") if record is not None else "",
        stage=str(record.stage) if record is not None else "",
        retrains=memory.retrains,
        rejected=memory.rejected,
        rollouts=memory.rollouts,
        rollbacks=memory.rollbacks,
        promotions=memory.promotions,
        cool_until_us=memory.cool_until_us,
        pending=(*manual, *memory.causes),
        history=memory.history,
        links=links,
    )


def details(now: ControllerState) -> str:
    """The same as a page of Markdown."""
    lines = [
        f"**{now.model}** is {now.phase}",
        "",
        f"- champion {now.champion or 'none'}{f', {now.stage} of {now.challenger}' if now.challenger else ''}",
        f"- {now.retrains} retrainings ({now.rejected} rejected), {now.rollouts} rollouts "
        f"({now.promotions} promoted, {now.rollbacks} rolled back)",
    ]
    if now.pending:
        lines.append(f"- pending: {', '.join(now.pending)}")
    lines += [f"- [{title}]({address})" for title, address in now.links.items()]
    lines += ["", *(f"{number}. {sentence}" for number, sentence in enumerate(reversed(now.history), 1))]
    return "\n".join(lines)
