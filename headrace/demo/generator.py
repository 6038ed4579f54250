"""A seeded world of cards: customers with habits, terminals in places, three ways of fraud, drifts to order.

The world in one paragraph: customers and terminals lie on a square of 100 by 100. A customer pays at terminals
nearby, a personal number of times a day, amounts spread around a personal mean, mostly around noon. Fraud comes
in three ways, each of which another feature gives away:

1. *greedy*: an amount far above anything honest (the amount itself),
2. *skimmed terminals*: for four weeks every payment at the terminal is fraud (terminal risk),
3. *stolen cards*: for two weeks a third of the card's payments are fraud with multiplied amounts (customer mean).

Windows start empty and skimmed terminals pile up, so the first weeks are a natural drift, as in real systems.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from headrace.errors import ConfigError

__all__ = ["DRIFTS", "Drift", "World", "generate", "parse_drift"]

DAY_US = 86_400_000_000
SKIMMED_DAYS = 28
STOLEN_DAYS = 14
STOLEN_SHARE = 1 / 3
STOLEN_FACTOR = 5.0
GREEDY_ABOVE = 220.0

DRIFTS = {
    "inflation": "amounts are multiplied by the strength (1.5: half as much again)",
    "crime": "skimmed terminals and stolen cards become more frequent by this factor",
    "camouflage": "stolen cards multiply amounts by this instead of 5 (1.2: hard to see)",
    "growth": "payments per customer and day are multiplied",
    "silence": "the stream stops for this many hours",
}
"""Kinds of planted drift; the number after the colon is the strength."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One planted change that starts on a day and stays (``silence`` lasts its hours)."""

    kind: str
    day: int
    strength: float


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is generated; the same values give the same bytes."""

    customers: int = 1_250
    terminals: int = 2_500
    days: int = 60
    start_us: int = 1_735_689_600_000_000
    """2025-01-01T00:00:00Z, a Wednesday."""
    seed: int = 7
    radius: float = 5.0
    """A customer pays at terminals within this distance."""
    skimmed_per_day: float = 0.5
    stolen_per_day: float = 0.75
    drifts: tuple[Drift, ...] = ()

    def __post_init__(self) -> None:
        for name in ("customers", "terminals", "days"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)!r}", hint="give 1 or more")


def parse_drift(text: str) -> Drift:
    """Read ``kind@day:strength``.

    >>> parse_drift("inflation@40:1.5")
    Drift(kind='inflation', day=40, strength=1.5)

    Raises:
        ConfigError: not of that form, or an unknown kind.
    """
    kind, _, rest = text.partition("@")
    day, _, strength = rest.partition(":")
    try:
        drift = Drift(kind=kind, day=int(day), strength=float(strength))
    except ValueError:
        drift = None
    if drift is None or kind not in DRIFTS or not math.isfinite(drift.strength) or drift.strength <= 0:
        raise ConfigError(
            f"drift {text!r} is not understood", hint=f"write kind@day:strength; kinds: {', '.join(DRIFTS)}"
        )
    return drift


def generate(world: World) -> pa.Table:
    """All events with their labels, in time order.

    Returns:
        Columns ``transaction_id`` int64, ``tx_datetime`` timestamp[us, UTC], ``customer_id`` int64, ``terminal_id``
        int64, ``tx_amount`` float64 (whole cents), ``tx_fraud`` int64, ``tx_fraud_scenario`` int64 (0 genuine, 1..3).
    """
    rng = np.random.default_rng(world.seed)
    people = _People(world, rng)
    columns = [_day(world, people, day, rng) for day in range(world.days)]
    time_us, customer, terminal, cents, scenario = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    order = np.lexsort((customer, time_us))
    return pa.table(
        {
            "transaction_id": np.arange(order.size, dtype=np.int64),
            "tx_datetime": pa.array(time_us[order], pa.timestamp("us", tz="UTC")),
            "customer_id": customer[order],
            "terminal_id": terminal[order],
            "tx_amount": cents[order] / 100.0,
            "tx_fraud": (scenario[order] > 0).astype(np.int64),
            "tx_fraud_scenario": scenario[order],
        }
    )


class _People:
    """Customers with habits, and the terminals each of them reaches."""

    def __init__(self, world: World, rng: np.random.Generator) -> None:
        homes = rng.uniform(0, 100, (world.customers, 2))
        shops = rng.uniform(0, 100, (world.terminals, 2))
        self.rate = rng.uniform(0.2, 4.0, world.customers)
        self.mean = rng.uniform(5.0, 100.0, world.customers)
        self.reach = [_within(home, shops, world.radius) for home in homes]
        self.skimmed_until = np.full(world.terminals, -1)
        self.stolen_until = np.full(world.customers, -1)


def _within(home: np.ndarray, shops: np.ndarray, radius: float) -> np.ndarray:
    distance = np.hypot(*(shops - home).T)
    near = np.flatnonzero(distance < radius)
    return near if near.size else np.array([int(distance.argmin())])


def _day(world: World, people: _People, day: int, rng: np.random.Generator) -> Sequence[np.ndarray]:
    strength = dict.fromkeys(DRIFTS, 1.0) | {d.kind: d.strength for d in world.drifts if day >= d.day}
    _commit_crimes(world, people, day, strength["crime"], rng)
    visits = rng.poisson(people.rate * strength["growth"])
    customer = np.repeat(np.arange(world.customers, dtype=np.int64), visits)
    draws = rng.random(customer.size)
    terminal = np.fromiter(
        (people.reach[who][int(draw * people.reach[who].size)] for who, draw in zip(customer, draws, strict=True)),
        dtype=np.int64,
        count=customer.size,
    )
    seconds = rng.normal(43_200, 20_000, customer.size)
    seconds = np.where((seconds < 0) | (seconds >= 86_400), rng.uniform(0, 86_400, customer.size), seconds)
    mean = people.mean[customer]
    amount = np.abs(rng.normal(mean, mean / 2)) * strength["inflation"]
    scenario = np.zeros(customer.size, dtype=np.int64)

    stolen = (people.stolen_until[customer] >= day) & (rng.random(customer.size) < STOLEN_SHARE)
    camouflage = any(d.kind == "camouflage" and day >= d.day for d in world.drifts)
    amount = np.where(stolen, amount * (strength["camouflage"] if camouflage else STOLEN_FACTOR), amount)
    scenario[stolen] = 3
    scenario[people.skimmed_until[terminal] >= day] = 2
    scenario[(amount > GREEDY_ABOVE * strength["inflation"]) & (scenario == 0)] = 1

    kept = np.ones(customer.size, dtype=bool)
    for drift in world.drifts:
        if drift.kind == "silence":
            since_s = (day - drift.day) * 86_400 + seconds
            kept &= ~((since_s >= 0) & (since_s < drift.strength * 3600))
    time_us = world.start_us + day * DAY_US + (seconds.astype(np.int64) * 1_000_000)
    cents = np.round(amount * 100).astype(np.int64)
    return [column[kept] for column in (time_us, customer, terminal, cents, scenario)]


def _commit_crimes(world: World, people: _People, day: int, factor: float, rng: np.random.Generator) -> None:
    skimmed = rng.integers(0, world.terminals, rng.poisson(world.skimmed_per_day * factor))
    stolen = rng.integers(0, world.customers, rng.poisson(world.stolen_per_day * factor))
    people.skimmed_until[skimmed] = day + SKIMMED_DAYS - 1
    people.stolen_until[stolen] = day + STOLEN_DAYS - 1
