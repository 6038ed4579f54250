"""Which version answers whom: a pure salted hash of the routing unit and the rollout record.

    position of a unit    0 ───────────── share ───────────────────────── 1
    canary at 5 %         challenger │ champion
    canary at 25 %        challenger ──────────│ champion

A unit's position depends on the salt alone, so a unit that is in at 5 % stays in at 25 %.
"""

from dataclasses import dataclass
from hashlib import blake2b

from headrace.contracts.rollout import RolloutRecord, Stage

__all__ = ["Route", "on_trial", "route", "unit_position"]


@dataclass(frozen=True, slots=True)
class Route:
    """Who scores one event."""

    serves: str
    """Version whose score is the answer."""
    along: tuple[str, ...] = ()
    """Versions that score the same inputs for comparison only."""
    understudy: str = ""
    """Version that answers when ``serves`` fails; empty: nobody may."""

    @property
    def versions(self) -> tuple[str, ...]:
        """All that score, the one that answers first."""
        return (self.serves, *self.along)


def unit_position(salt: str, unit: str) -> float:
    """Place of a routing unit in [0, 1), uniform over units and fixed for one salt."""
    digest = blake2b(f"{salt}\x00{unit}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)  # 53 bits: exact in a float, never 1.0


def route(record: RolloutRecord, unit: str) -> Route:
    """Decide for one routing unit."""
    champion, challenger = record.champion, record.challenger
    if challenger is None or record.stage is Stage.STEADY:
        return Route(champion)
    if record.stage is Stage.SHADOW:
        return Route(champion, along=(challenger,))
    if record.stage is Stage.CANARY:
        if unit_position(record.salt, unit) < record.share:
            return Route(challenger, along=(champion,), understudy=champion)
        return Route(champion, along=(challenger,))
    return Route(champion, along=(challenger,), understudy=challenger)


def on_trial(record: RolloutRecord) -> str:
    """Version the tripwires watch: the challenger, in probation the promoted one; empty when steady."""
    if record.challenger is None or record.stage is Stage.STEADY:
        return ""
    return record.champion if record.stage is Stage.PROBATION else record.challenger
