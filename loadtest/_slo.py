"""Service-level objectives: what a run has to reach, in words, and whether it did.

An objective is a line such as `NEW_ORDER_ITEM p99<50ms`, `errors<0.1%` or `accepted>10000/s`.
Numbers are compared as the decimals that were written, not as binary floats, so that 50 ms is
never under 50 ms. What was not measured is not kept. Knows no run, only the figures of one.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

LATENCIES = frozenset({"p50", "p90", "p95", "p99", "p99.9", "p99.99", "max", "mean"})
RATES = frozenset({"accepted", "refused", "replayed", "failed", "requests"})
ERRORS = "errors"
MISSED = "missed"  # arrivals of an open workload that were due and never begun
MEASURES = LATENCIES | RATES | {ERRORS, MISSED}
ALL = "all"  # the request name that stands for every request
INTENDED = "intended"
UNMEASURED = "not measured"
FORM = "[intended] [request name] measure, then < <= > or >=, a number and a unit"
DIGITS = 4  # shown of a measured number, or more if they tell it from the limit
DIGITS_MAX = 18  # of a float, all of them

_PARTS = re.compile(r"([^<>]*)(<=|>=|<|>)(.*)", re.DOTALL)
_LIMIT = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)\s*(\D*)")
_COMPARE: Mapping[str, Callable[[Fraction, Fraction], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MS_UNITS = {"us": Fraction(1, 1000), "ms": Fraction(1), "s": Fraction(1000)}
_SHARE_UNITS = {"%": Fraction(1, 100)}
_RATE_UNITS = {"/s": Fraction(1)}


class Slo(NamedTuple):
    """One objective. `limit` counts `unit`s, which are `scale` ms, orders per second or parts."""

    text: str
    measure: str
    name: str
    intended: bool
    compare: str
    limit: Fraction
    unit: str
    scale: Fraction


class Kept(NamedTuple):
    """What became of an objective; `measured` is to be read, with its unit."""

    slo: str
    measured: str
    kept: bool


def parse(text: str) -> Slo:
    """Read an objective. Raises ValueError, which quotes it and says what was expected."""
    parts = _PARTS.fullmatch(text)
    if not parts:
        raise _unreadable(text, FORM)
    left, compare, right = parts.groups()
    intended, name, measure = _subject(text, left.split())
    limit, unit, scale = _limit(text, right.strip(), _units(measure))
    return Slo(text.strip(), measure, name, intended, compare, limit, unit, scale)


def _subject(text: str, words: list[str]) -> tuple[bool, str, str]:
    """Return whether the latency is the intended one, the request name, and what is measured."""
    *before, measure = words or [""]
    if measure not in MEASURES:
        raise _unreadable(text, f"one of {_listed(MEASURES)}", measure)
    intended = before[:1] == [INTENDED]
    if intended and measure not in LATENCIES:
        raise _unreadable(text, f"a latency after {INTENDED!r}: {_listed(LATENCIES)}", measure)
    if before and measure in RATES | {MISSED}:
        raise _unreadable(text, f"no request name before {measure!r}", " ".join(before))
    return intended, " ".join(before[intended:]) or ALL, measure


def _limit(
    text: str, written: str, units: Mapping[str, Fraction]
) -> tuple[Fraction, str, Fraction]:
    limit = _LIMIT.fullmatch(written)
    if not limit or limit[2] not in units:
        raise _unreadable(text, f"a number and {' or '.join(units)}", written)
    if "%" in units and Fraction(limit[1]) > 100:
        raise _unreadable(text, "at most 100%", written)
    return Fraction(limit[1]), limit[2], units[limit[2]]


def _units(measure: str) -> Mapping[str, Fraction]:
    if measure in LATENCIES:
        return _MS_UNITS
    return _RATE_UNITS if measure in RATES else _SHARE_UNITS


def _unreadable(text: str, expected: str, got: str | None = None) -> ValueError:
    found = "" if got is None else f", got {got!r}"
    return ValueError(f"cannot read {text!r}: expected {expected}{found}")


def _listed(words: frozenset[str]) -> str:
    return ", ".join(sorted(words))


def check(slo: Slo, figures: Mapping[str, Any]) -> Kept:
    """Hold an objective against the figures of a run, which have the form of its summary."""
    measured = _measured(slo, figures)
    if measured is None:
        return Kept(slo.text, UNMEASURED, kept=False)
    amount = measured / slo.scale
    return Kept(slo.text, _readable(slo, amount), _COMPARE[slo.compare](amount, slo.limit))


def _measured(slo: Slo, figures: Mapping[str, Any]) -> Fraction | None:
    """Return ms, requests per second or a share of 1; None if the run has no such figure."""
    if slo.measure in RATES:
        return _rate(slo.measure, figures["throughput"])
    if slo.measure == MISSED:
        return _missed(figures)
    rows = figures["intended_latencies_ms" if slo.intended else "latencies_ms"]
    row = next((row for row in rows if row["name"] == slo.name), None)
    if row is None or not row["count"]:
        return None
    if slo.measure == ERRORS:
        return Fraction(row["failed"], row["count"])
    return _exact(row.get(slo.measure))


def _rate(outcome: str, throughput: Mapping[str, Mapping[str, Any]]) -> Fraction | None:
    """Return a rate; a run without requests has none, not even one of 0/s."""
    if not throughput["requests"]["count"]:
        return None
    return _exact(throughput[outcome]["per_s"])


def _missed(figures: Mapping[str, Any]) -> Fraction | None:
    """Return the share of arrivals that were never begun; a closed run has none."""
    rows = figures["intended_latencies_ms"]
    begun = sum(row["count"] for row in rows if row["name"] == ALL)
    due = begun + figures["missed_arrivals"]
    return Fraction(figures["missed_arrivals"], due) if due else None


def _exact(number: float | None) -> Fraction | None:
    """Return the decimal that a float is written as: 0.1 is a tenth."""
    return None if number is None or not math.isfinite(number) else Fraction(str(number))


def _readable(slo: Slo, amount: Fraction) -> str:
    """Round for the reader, but never onto the limit: 50.0004 ms is not shown as 50 ms."""
    whole = len(str(int(amount))) if amount >= 1 else 0
    for places in range(max(0, DIGITS - whole), DIGITS_MAX):
        shown = round(amount, places)
        if _side(shown, slo.limit) == _side(amount, slo.limit):
            break
    number = f"{float(shown):,.{places}f}"
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    return f"{number} {slo.unit}" if slo.measure in LATENCIES else f"{number}{slo.unit}"


def _side(amount: Fraction, limit: Fraction) -> int:
    """Return -1 below the limit, 0 at it, 1 above it."""
    return (amount > limit) - (amount < limit)
