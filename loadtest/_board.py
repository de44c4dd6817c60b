"""Board: what each product had, sold and refused so far, for whoever watches a run.

Kept up to date with every answer, and so in few steps. It counts what can be seen at once: more
sold than there was, a negative stock. What takes a replay is the audit's business, at the end.
A worker tells the master all that it has counted since the beginning, every time: a report that
is lost, late or there twice does no harm. Knows no Locust.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

WINDOW_S = 10.0  # over which a rate is taken: several of the workers' reports, which come every 3 s
LOOK_S = 1.0  # at the least, between two of the counts that a rate is taken from
TOTAL = "all products"
Item = tuple[str, int, int, int]
"""Of an order that was accepted: name, quantity, price, and what it left."""


class Line(msgspec.Struct, gc=False):
    """A product on the board."""

    start: int | None = None
    """In stock before the first order; None if it was not in the list."""
    accepted: int = 0
    """Orders."""
    sold: int = 0
    """Units."""
    refused: int = 0
    """Orders."""
    negative: int = 0
    """Receipts and lists that told of less than nothing."""
    left: int = 0
    """In stock as of `as_of`, the latest that anybody told of."""
    as_of: int = -1
    order: int = 0
    """The last one that was counted, by the board's own count."""


class _Told(NamedTuple):
    """A worker's latest report."""

    number: int
    came_s: float
    orders: int
    orders_per_s: float
    lines: Mapping[str, tuple[int, int, int, int, int, int, float]]
    """By product as in `Line`, from `accepted` to `as_of`, and the accepted orders per second."""


class _Look(NamedTuple):
    """What was counted by a moment."""

    at_s: float
    orders: int
    accepted: dict[str, int]


class Board:
    """Counts by product, of one process or of a master and its workers. For one native thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.begin("", {}, -1)

    def begin(self, tag: str, stock: Mapping[str, int], as_of: int) -> None:
        """Forget the run before; `stock` is what there is as of a position."""
        self.tag = tag
        self._lines = {
            name: Line(start=left, left=left, as_of=as_of) for name, left in stock.items()
        }
        self._orders = 0
        self._workers: dict[str, _Told] = {}
        self._reports = 0
        self._looks = deque([_Look(self._clock(), 0, {})])
        self._seconds = 0.0

    def end(self, seconds: float) -> None:
        """Let the rates be those of the whole run from now on, which took so long."""
        self._seconds = max(seconds, LOOK_S)  # a rate over less is noise

    # What the answers tell.

    def accepted(self, items: Iterable[Item], position: int) -> None:
        """Count an order and what it left of each product, named once or several times."""
        self._orders = order = self._orders + 1
        lines = self._lines
        for name, quantity, _, left in items:
            line = lines.get(name) or self._line(name)
            line.sold += quantity
            if line.order != order:
                line.order = order
                line.accepted += 1
                if left < 0:
                    line.negative += 1
            if position > line.as_of:
                line.as_of = position
                line.left = left

    def seen(self, name: str, left: int, as_of: int) -> None:
        """Note what a list tells of a product."""
        line = self._lines.get(name) or self._line(name)
        if left < 0:
            line.negative += 1
        if as_of > line.as_of:
            line.as_of, line.left = as_of, left

    def refused(self, name: str) -> None:
        """Count an order that was refused because of this product."""
        (self._lines.get(name) or self._line(name)).refused += 1

    def _line(self, name: str) -> Line:
        return self._lines.setdefault(name, Line())

    # Rates.

    def look(self) -> None:
        """Note what was counted so far, at most once in LOOK_S. To be called every few seconds."""
        now_s, looks = self._clock(), self._looks
        if now_s - looks[-1].at_s >= LOOK_S:
            accepted = {name: line.accepted for name, line in self._lines.items() if line.accepted}
            looks.append(_Look(now_s, self._orders, accepted))
        while len(looks) > 1 and now_s - looks[1].at_s >= WINDOW_S:
            looks.popleft()

    def _per_s(self) -> tuple[float, dict[str, float]]:
        """Return this process's own rates, of orders and by product, over WINDOW_S or so."""
        self.look()
        before = self._looks[0]
        seconds = max(self._clock() - before.at_s, LOOK_S)
        rates = {
            name: (line.accepted - before.accepted.get(name, 0)) / seconds
            for name, line in self._lines.items()
            if line.accepted
        }
        return (self._orders - before.orders) / seconds, rates

    # From worker to master.

    def report(self) -> dict[str, Any]:
        """Return what this worker has counted, as plain data."""
        self._reports += 1
        per_s, rates = self._per_s()
        lines = {name: (*_counts(line), rates.get(name, 0.0)) for name, line in self._lines.items()}
        told = _Told(self._reports, 0.0, self._orders, per_s, lines)
        return {"tag": self.tag, **told._asdict()}

    def receive(self, worker: str, report: Mapping[str, Any]) -> None:
        """Take a worker's report; one of an earlier run, or an older one, is let go."""
        before = self._workers.get(worker)
        if report["tag"] != self.tag or (before and report["number"] <= before.number):
            return
        facts = {name: report[name] for name in _Told._fields}
        self._workers[worker] = _Told(**facts)._replace(came_s=self._clock())

    # For the watcher.

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each product, those that were asked for most first."""
        lines, rates = self._together()
        order = sorted(lines.items(), key=_busiest_first)
        return [_row(name, line, self._rate(line.accepted, rates[name])) for name, line in order]

    def total(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the row of all products together. An order of several products is one order."""
        sums = dict.fromkeys(("start", "sold", "refused", "left", "violations"), 0)
        for row in rows:
            for column in sums:
                sums[column] += row[column] or 0
        workers = self._workers.values()
        orders = self._orders + sum(told.orders for told in workers)
        per_s = sum(told.orders_per_s for told in workers if self._is_fresh(told))
        return {"product": TOTAL, **sums, "rate": self._rate(orders, per_s + self._per_s()[0])}

    def _rate(self, accepted: int, per_s: float) -> float:
        return round(accepted / self._seconds if self._seconds else per_s, 1)

    def _is_fresh(self, told: _Told) -> bool:
        """Tell whether a report's rates still hold: a worker that is gone has none."""
        return self._clock() - told.came_s <= WINDOW_S

    def _together(self) -> tuple[dict[str, Line], dict[str, float]]:
        """Return what all processes have counted, and their rates."""
        lines = {name: msgspec.structs.replace(line) for name, line in self._lines.items()}
        rates = dict.fromkeys(lines, 0.0) | self._per_s()[1]
        for told in self._workers.values():
            for name, (*counts, per_s) in told.lines.items():
                _add(lines.setdefault(name, Line()), *counts)
                rates[name] = rates.get(name, 0.0) + (per_s if self._is_fresh(told) else 0.0)
        return lines, rates


def _counts(line: Line) -> tuple[int, int, int, int, int, int]:
    return line.accepted, line.sold, line.refused, line.negative, line.left, line.as_of


def _add(
    line: Line, accepted: int, sold: int, refused: int, negative: int, left: int, as_of: int
) -> None:
    line.accepted += accepted
    line.sold += sold
    line.refused += refused
    line.negative += negative
    if as_of > line.as_of:
        line.as_of, line.left = as_of, left


def _busiest_first(item: tuple[str, Line]) -> tuple[int, str]:
    name, line = item
    return -(line.accepted + line.refused), name


def _row(name: str, line: Line, per_s: float) -> dict[str, Any]:
    beyond = max(0, line.sold - (line.start or 0))
    return {
        "product": name,
        "start": line.start,
        "sold": line.sold,
        "refused": line.refused,
        "left": line.left,
        "violations": beyond + line.negative,
        "rate": per_s,
    }
