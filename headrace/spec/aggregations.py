"""Aggregations: what is computed of the events in a window.

``Feature`` is one of them over one window; ``Aggregation.over`` makes as many as it is given windows. Nulls are
skipped; ``where=`` leaves out events for which a condition does not hold. Ties follow the order (event time, id).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from headrace.errors import DefinitionError
from headrace.spec.conditions import Condition, Scalar, col
from headrace.spec.durations import format_duration, parse_duration
from headrace.spec.types import Float64, Int64
from headrace.spec.windows import Closed, Window, sliding

__all__ = [
    "Aggregation",
    "Aggregations",
    "Feature",
    "Kind",
    "approx_distinct",
    "approx_quantile",
    "approx_top_k",
    "count",
    "count_by",
    "decayed_mean",
    "decayed_sum",
    "distinct",
    "first",
    "last",
    "last_k",
    "max",
    "mean",
    "min",
    "quantile",
    "share",
    "since_last",
    "std",
    "sum",
    "top_k",
    "var",
]

Kind = Literal[
    "count", "sum", "mean", "share", "var", "std", "min", "max", "first", "last", "last_k", "distinct", "quantile",
    "top_k", "decayed_sum", "decayed_mean", "since_last", "approx_distinct", "approx_quantile", "approx_top_k",
]  # fmt: skip
_ZERO_WHEN_EMPTY = frozenset({"count", "sum", "distinct", "decayed_sum", "approx_distinct"})
_WHOLE = frozenset({"count", "distinct", "approx_distinct"})
_LISTS = frozenset({"last_k", "top_k", "approx_top_k"})
_CONTINUOUS = frozenset({"decayed_sum", "decayed_mean", "since_last"})
_SKETCHES = {"approx_distinct": "distinct", "approx_quantile": "quantile", "approx_top_k": "top_k"}
"""Estimates over a lifetime, and what gives the exact value of a window that ends."""
_NEEDS_EVENTS = {exact: estimate for estimate, exact in _SKETCHES.items()}
"""Cannot be summed up without keeping every value, so they have no lifetime."""
_OF_TEXTS = frozenset({"distinct", "approx_distinct"})
_MOST_ITEMS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregation:
    """What is computed; ``over`` says over which windows."""

    kind: Kind
    column: str | None = None
    """Aggregated field; None for ``count``, ``share`` and ``since_last``, which look at events."""
    where: Condition | None = None
    """Events it looks at; of ``share`` the condition whose share it is."""
    k: int = 0
    """Items of a list; of ``var`` and ``std`` what is taken from the number of values (ddof)."""
    rank: Fraction = Fraction(0)
    """Of a quantile."""
    half_life_us: int = 0

    def over(
        self, *windows: str | Window, delay: str = "0s", empty: float | None = None, hop: str | None = None
    ) -> tuple["Feature", ...]:
        """One feature for each window.

        Args:
            windows: lengths such as ``"1d"``, or windows of :mod:`headrace.spec.windows`.
            delay: evaluate at ``q - delay``.
            empty: value of an empty window; the default is 0 for counts and sums, null for the rest.
            hop: of the windows given as lengths, see :func:`headrace.spec.windows.sliding`.

        Raises:
            DefinitionError: no window, one that cannot be read, or one this aggregation does not have.
        """
        if not windows:
            raise DefinitionError(f"{self.kind}: no window given", hint="write .over('1d', '7d')")
        if self.kind in _ZERO_WHEN_EMPTY and empty not in (None, 0, 0.0):
            raise DefinitionError(f"{self.kind}: empty is {empty!r}; nothing counted is 0", hint="leave empty out")
        if self.kind in _LISTS and empty is not None:
            raise DefinitionError(f"{self.kind}: empty is {empty!r}; it is a list", hint="leave empty out")
        default = 0.0 if self.kind in _ZERO_WHEN_EMPTY else None
        delay_us = parse_duration(delay, field=f"delay of {self.kind}({self.column or ''})")
        return tuple(
            Feature(
                aggregation=self,
                window=self._window(window, hop),
                delay_us=delay_us,
                empty=default if empty is None else float(empty),
            )
            for window in windows
        )

    def _window(self, window: str | Window, hop: str | None) -> Window:
        name = window.name if isinstance(window, Window) else window
        if self.kind in _SKETCHES and name != "lifetime":
            raise DefinitionError(
                f"{self.kind}({self.column!r}) over {name!r} would estimate what can be known",
                hint=f"take {_SKETCHES[self.kind]}, which is exact there, or lifetime()",
            )
        if not isinstance(window, Window):
            try:
                return sliding(window, hop=hop)
            except DefinitionError as error:
                raise DefinitionError(f"{self.kind}({self.column or ''}): {error}", hint=error.hint) from error
        if hop is not None:
            raise DefinitionError(f"{self.kind}: hop {hop!r} beside a made window", hint="write sliding('30d', hop=…)")
        if window.kind == "lifetime" and self.kind in _NEEDS_EVENTS:
            raise DefinitionError(
                f"{self.kind}({self.column!r}) over a lifetime would keep every value for ever",
                hint=f"take a bounded window such as '90d', or {_NEEDS_EVENTS[self.kind]} for an estimate",
            )
        return window


@dataclass(frozen=True, slots=True)
class Aggregations:
    """Several that share their windows."""

    members: tuple[Aggregation, ...]

    def over(self, *windows: str | Window, delay: str = "0s", hop: str | None = None) -> tuple["Feature", ...]:
        """As :meth:`Aggregation.over`, for each of them."""
        return tuple(feature for member in self.members for feature in member.over(*windows, delay=delay, hop=hop))


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One aggregation over one window; its name is derived."""

    aggregation: Aggregation
    window: Window
    delay_us: int
    empty: float | None
    """Value when no (non-null) input is in the window; None is null."""

    @property
    def kind(self) -> Kind:
        return self.aggregation.kind

    @property
    def column(self) -> str | None:
        return self.aggregation.column

    @property
    def name(self) -> str:
        """``count_7d``, ``mean_tx_amount_7d``, ``sum_amount_status_is_ok_30d_hop_1d``, ``p95_amount_session_30m``."""
        of, kind = self.aggregation, str(self.kind)
        if self.is_list:
            kind = f"{kind[:-2]}_{of.k}"
        elif kind.endswith("quantile"):
            kind = f"{kind[: -len('quantile')]}p{_percent(of.rank)}"
        decay = format_duration(of.half_life_us) if of.half_life_us else ""
        parts = [kind, of.column, of.where.slug if of.where is not None else "", decay, self.window.name]
        return "_".join(part for part in parts if part)

    @property
    def value_type(self) -> type[Int64] | type[Float64]:
        """``Int64`` for counts, ``Float64`` otherwise; the type of one item when it is a list."""
        return Int64 if self.kind in _WHOLE else Float64

    @property
    def is_list(self) -> bool:
        """Whether the value is a list of up to ``width`` numbers."""
        return self.kind in _LISTS

    @property
    def width(self) -> int:
        """Numbers in a value."""
        return self.aggregation.k if self.is_list else 1

    @property
    def is_continuous(self) -> bool:
        """Whether the value changes as time passes, with no event coming or going."""
        return self.kind in _CONTINUOUS

    @property
    def is_sketch(self) -> bool:
        """Whether the value is an estimate, from a summary of bounded size."""
        return self.kind in _SKETCHES

    @property
    def takes_texts(self) -> bool:
        """Whether the column may be a String."""
        return self.kind in _OF_TEXTS

    def reach_us(self, closed: Closed) -> int:
        """How far before ``q`` it looks at single events."""
        return self.window.reach_us(closed, self.delay_us)


def count(where: Condition | None = None) -> Aggregation:
    """Number of events."""
    return Aggregation(kind="count", where=where)


def count_by(column: str, categories: Iterable[Scalar]) -> Aggregations:
    """Number of events of each category of a field, one feature each."""
    made = tuple(count(where=col(column) == category) for category in categories)
    if not made:
        raise DefinitionError(f"count_by({column!r}) has no categories", hint="give the values to count")
    return Aggregations(made)


def share(where: Condition) -> Aggregation:
    """Share of the events for which a condition holds, of those for which it is known."""
    return Aggregation(kind="share", where=where)


def sum(column: str, where: Condition | None = None) -> Aggregation:
    """Exact sum."""
    return Aggregation(kind="sum", column=column, where=where)


def mean(column: str, where: Condition | None = None) -> Aggregation:
    """Exact sum divided by the number of values."""
    return Aggregation(kind="mean", column=column, where=where)


def var(column: str, where: Condition | None = None, *, ddof: int = 1) -> Aggregation:
    """Variance from exact sums, ``(n Σx² - (Σx)²) / (n (n - ddof))``; null for ``ddof`` values or fewer."""
    return Aggregation(kind="var", column=column, where=where, k=_ddof(ddof))


def std(column: str, where: Condition | None = None, *, ddof: int = 1) -> Aggregation:
    """Square root of :func:`var`."""
    return Aggregation(kind="std", column=column, where=where, k=_ddof(ddof))


def min(column: str, where: Condition | None = None) -> Aggregation:
    """Smallest value."""
    return Aggregation(kind="min", column=column, where=where)


def max(column: str, where: Condition | None = None) -> Aggregation:
    """Largest value."""
    return Aggregation(kind="max", column=column, where=where)


def first(column: str, where: Condition | None = None) -> Aggregation:
    """Oldest value."""
    return Aggregation(kind="first", column=column, where=where)


def last(column: str, where: Condition | None = None) -> Aggregation:
    """Newest value."""
    return Aggregation(kind="last", column=column, where=where)


def last_k(column: str, k: int, where: Condition | None = None) -> Aggregation:
    """The ``k`` newest values, newest first."""
    return Aggregation(kind="last_k", column=column, where=where, k=_items(k))


def distinct(column: str, where: Condition | None = None) -> Aggregation:
    """Number of different values, exact; texts are told apart by 64-bit digests (see feature_store.ids)."""
    return Aggregation(kind="distinct", column=column, where=where)


def quantile(column: str, q: float | str, where: Condition | None = None) -> Aggregation:
    """The smallest value at or below which at least the share ``q`` of the values lies (inverse of the distribution).

    Args:
        column: the field.
        q: in (0, 1]; read as the decimal it is written as.
        where: events it looks at.
    """
    return Aggregation(kind="quantile", column=column, where=where, rank=_rank(q, f"quantile({column!r})"))


def top_k(column: str, k: int, where: Condition | None = None) -> Aggregation:
    """The ``k`` most frequent values, most frequent first; of equally frequent ones the one seen last goes first."""
    return Aggregation(kind="top_k", column=column, where=where, k=_items(k))


def approx_distinct(column: str, where: Condition | None = None) -> Aggregation:
    """Estimate of the number of different values over a lifetime: HyperLogLog with 4096 registers.

    Its standard error is 1.3 % (sqrt(ln 2 / 4096) of the HIP estimator, Cohen 2014). Texts as in :func:`distinct`.
    """
    return Aggregation(kind="approx_distinct", column=column, where=where)


def approx_quantile(column: str, q: float | str, where: Condition | None = None) -> Aggregation:
    """Estimate of a quantile over a lifetime: t-digest with k = 200, best at both ends (Dunning and Ertl 2019).

    It promises no bound. Of 100,000 values, the share at or below the answer was off by up to 0.03 at the median, 0.01
    at 0.9 and 0.001 at 0.99.

    Args:
        column: the field.
        q: as of :func:`quantile`.
        where: events it looks at.
    """
    rank = _rank(q, f"approx_quantile({column!r})")
    return Aggregation(kind="approx_quantile", column=column, where=where, rank=rank)


def approx_top_k(column: str, k: int, where: Condition | None = None) -> Aggregation:
    """The values that seem most frequent over a lifetime, most frequent first; of equal ones the least goes first.

    Exact up to 384 different values. Beyond, no count is off by more than 0.7 % of all values (3.5 / 512, Anderson et
    al. 2017), so a value more frequent than that is not overlooked.
    """
    return Aggregation(kind="approx_top_k", column=column, where=where, k=_items(k))


def decayed_sum(column: str, half_life: str, where: Condition | None = None) -> Aggregation:
    """Sum in which a value counts half as much after each ``half_life``: ``Σ x 2^-((q - d - t) / half_life)``."""
    return Aggregation(kind="decayed_sum", column=column, where=where, half_life_us=_half_life(half_life))


def decayed_mean(column: str, half_life: str, where: Condition | None = None) -> Aggregation:
    """Mean with the weights of :func:`decayed_sum`."""
    return Aggregation(kind="decayed_mean", column=column, where=where, half_life_us=_half_life(half_life))


def since_last(where: Condition | None = None) -> Aggregation:
    """Seconds from the newest event to ``q - delay``."""
    return Aggregation(kind="since_last", where=where)


def _rank(q: float | str, what: str) -> Fraction:
    try:
        rank = Fraction(str(q))
    except ValueError:
        rank = Fraction(-1)
    if not 0 < rank <= 1:
        raise DefinitionError(f"{what} of {q!r}", hint="give a share such as 0.95")
    return rank


def _ddof(ddof: int) -> int:
    if ddof not in (0, 1):
        raise DefinitionError(f"ddof is {ddof!r}", hint="1 for a sample, 0 for all there is")
    return ddof


def _items(k: int) -> int:
    if not isinstance(k, int) or not 1 <= k <= _MOST_ITEMS:
        raise DefinitionError(f"k is {k!r}", hint=f"give 1 to {_MOST_ITEMS}")
    return k


def _half_life(text: str) -> int:
    half_life_us = parse_duration(text, field="half_life")
    if half_life_us <= 0:
        raise DefinitionError(f"half_life {text!r} has no length", hint="give one such as '1h'")
    return half_life_us


def _percent(rank: Fraction) -> str:
    """``0.95`` as ``95``, ``0.999`` as ``99_9``."""
    return f"{float(rank * 100):.12g}".replace(".", "_")
