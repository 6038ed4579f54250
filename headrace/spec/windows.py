"""Windows: which events count at an instant ``q``.

Time is drawn to the right; ``w`` is a window's length, ``d`` a feature's delay:

    sliding w            [═══════════w═══════════)q-d           every event of the last w
    sliding w, hop h   |[══h══|═════h═════|══h══)q-d            its old edge rounded down to a multiple of h
    tumbling w           |═══════w═══════|═══════)q-d           since the last multiple of w (UTC)
      completed          |═══════w═══════)       q-d            the newest that is over
    session g               ●  ●    ●──≤g──●  ● )q-d            back to the last pause longer than g
    lifetime         ●════════════════════════════)q-d          every event there was

``closed`` says which edge belongs to a window: "left" [old, new), "right" (old, new], "both", "neither". For aligned
windows and sessions it decides, at the old edge, whether a multiple belongs to the window it begins ("left", "both")
or to the one it ends ("right", "neither"); at the new one whether an event sees itself.

Each edge is one rule, exact because times are whole microseconds: an event at ``t`` lies before it iff ``t <= E(q)``.
"""

from dataclasses import dataclass
from typing import Literal

from headrace.errors import DefinitionError
from headrace.spec.durations import format_duration, parse_duration

__all__ = ["Closed", "Edge", "Window", "lifetime", "session", "sliding", "tumbling"]

Closed = Literal["left", "right", "both", "neither"]
WindowKind = Literal["sliding", "tumbling", "session", "lifetime"]


@dataclass(frozen=True, slots=True)
class Edge:
    """A bound that moves with ``q``; never backwards."""

    shift_us: int
    grid_us: int = 0
    """0: not rounded."""
    back_us: int = 0

    def at(self, q: int) -> int:
        """``E(q)``: events at or before it have passed the edge.

        >>> Edge(10).at(25), Edge(10, 6, 1).at(25)
        (15, 11)
        """
        shifted = q - self.shift_us
        return (shifted // self.grid_us * self.grid_us if self.grid_us else shifted) - self.back_us

    def passes(self, t: int) -> int:
        """First ``q`` at which an event at ``t`` has passed.

        >>> Edge(10, 6, 1).passes(11), Edge(10, 6, 1).passes(12)
        (22, 28)
        """
        if not self.grid_us:
            return t + self.back_us + self.shift_us
        return -(-(t + self.back_us) // self.grid_us) * self.grid_us + self.shift_us


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Made by :func:`sliding`, :func:`tumbling`, :func:`session` or :func:`lifetime`."""

    kind: WindowKind
    length_us: int
    """Of a session: the farthest back it may begin; of a lifetime 0."""
    hop_us: int = 0
    gap_us: int = 0
    completed: bool = False

    @property
    def name(self) -> str:
        """Its part of a derived feature name: ``7d``, ``30d_hop_1d``, ``last_tumbling_1d``, ``session_30m``."""
        length = format_duration(self.length_us)
        if self.kind == "lifetime":
            return "lifetime"
        if self.kind == "session":
            return f"session_{format_duration(self.gap_us)}"
        if self.kind == "tumbling":
            return f"{'last_' if self.completed else ''}tumbling_{length}"
        return f"{length}_hop_{format_duration(self.hop_us)}" if self.hop_us else length

    def enters(self, closed: Closed, delay_us: int) -> Edge:
        """The new edge: an event counts once it has passed it."""
        if self.completed:
            return Edge(delay_us, self.length_us, 1) if _at_start(closed) else Edge(delay_us + 1, self.length_us)
        return Edge(delay_us if closed in ("right", "both") else delay_us + 1)

    def leaves(self, closed: Closed, delay_us: int) -> Edge | None:
        """The old edge: an event no longer counts once it has passed it; None: it always does."""
        begins = _at_start(closed)
        if self.kind == "lifetime":
            return None
        if self.kind == "tumbling":
            back = self.length_us if self.completed else 0
            if begins:
                return Edge(delay_us, self.length_us, back + 1)
            return Edge(delay_us + 1, self.length_us, back)
        if self.hop_us:
            return Edge(delay_us + self.length_us, self.hop_us, 1 if begins else 0)
        return Edge(delay_us + self.length_us + (1 if begins else 0))

    def pauses(self, delay_us: int) -> Edge | None:
        """Sessions: the window is empty once its newest event has passed it."""
        return Edge(delay_us + self.gap_us + 1) if self.kind == "session" else None

    def reach_us(self, closed: Closed, delay_us: int) -> int:
        """How far before ``q`` an event may lie and still make a difference; what is older is summed up or gone."""
        new = self.enters(closed, delay_us)
        old = self.leaves(closed, delay_us) or new
        return max(edge.shift_us + edge.back_us + edge.grid_us for edge in (new, old))


def sliding(length: str, *, hop: str | None = None) -> Window:
    """Every event of the last ``length``; plain texts in ``over`` mean this.

    Args:
        length: such as ``"7d"``.
        hop: round the old edge down to a multiple of it, so that the window is up to one hop longer and the memory
            it takes does not grow with the number of events.

    Raises:
        DefinitionError: no length, or a hop that does not divide it.
    """
    length_us, hop_us = _length(length, "window"), _length(hop, "hop") if hop is not None else 0
    if hop_us and length_us % hop_us:
        raise DefinitionError(f"hop {hop!r} does not divide window {length!r}", hint="use a hop that does")
    return Window(kind="sliding", length_us=length_us, hop_us=hop_us)


def tumbling(length: str, *, completed: bool = False) -> Window:
    """The window of a fixed grid that ``q`` lies in, up to ``q``; days begin at midnight UTC.

    Args:
        length: of each window.
        completed: the window before, whole, instead.
    """
    return Window(kind="tumbling", length_us=_length(length, "tumbling window"), completed=completed)


def session(gap: str, *, within: str = "1d") -> Window:
    """Events with pauses of at most ``gap`` between them, up to now; empty when the newest is longer ago than that.

    Args:
        gap: longest pause inside a session.
        within: events longer ago than this do not count, so that a session without end needs no endless memory.
    """
    window = Window(kind="session", length_us=_length(within, "within"), gap_us=_length(gap, "session gap"))
    if window.gap_us >= window.length_us:
        raise DefinitionError(f"session gap {gap!r} is not shorter than within {within!r}", hint="raise within")
    return window


def lifetime() -> Window:
    """Every event since the stream began."""
    return Window(kind="lifetime", length_us=0)


def _at_start(closed: Closed) -> bool:
    return closed in ("left", "both")


def _length(text: str, what: str) -> int:
    length_us = parse_duration(text, field=what)
    if length_us <= 0:
        raise DefinitionError(f"{what} {text!r} has no length", hint="give at least '1us'")
    return length_us
