"""Figures: a run in numbers, from its history: exact, and told apart by what became of an order.

Knows no Locust: its statistics are rounded and forget. What is here is JSON (`--summary`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
from _part import DIGITS, FOREVER, LATENCY_US_MAX, Report
from _requests import NO_PRODUCT
from _slo import Slo, check
from hdrh.histogram import HdrHistogram

from sportshop import __version__
from sportshop.audit import History, Kind, Verdict, worst
from sportshop.audit.books import Books
from sportshop.audit.history import TOOK_MAX, Array

ORDERS = (
    Kind.ACCEPTED,
    Kind.REPLAYED,
    Kind.SOLD_OUT,
    Kind.NOT_FOUND,
    Kind.KEY_REUSED,
    Kind.NOT_DONE,
    Kind.UNKNOWN,
)
OUTCOMES = {
    "accepted": (Kind.ACCEPTED,),
    "refused": (Kind.SOLD_OUT, Kind.NOT_FOUND, Kind.KEY_REUSED),
    "replayed": (Kind.REPLAYED,),
    "failed": (Kind.NOT_DONE,),
    "unknown": (Kind.UNKNOWN,),
}
REQUESTS = {
    "NEW_ORDER_ITEM": ORDERS,
    "NEW_ORDER_ITEM accepted": OUTCOMES["accepted"],
    "NEW_ORDER_ITEM refused": OUTCOMES["refused"],
    "NEW_ORDER_ITEM replayed": OUTCOMES["replayed"],
    "GET_PRODUCTS": (Kind.PRODUCTS,),
    "GET_ORDERS": (Kind.ORDERS,),
}
READ_REQUESTS = ("GET_PRODUCTS", "GET_ORDERS")
PERCENTILES = {"p50": 50, "p90": 90, "p95": 95, "p99": 99, "p99.9": 99.9, "p99.99": 99.99}
NS = 1_000_000_000
RATE_S_MIN = 0.1  # a rate over less is noise: four requests in a microsecond are no 4,000,000/s
STOCK_POINTS_MAX = 600  # of a stock over time: a screen shows no more
EXIT_FAILED, EXIT_VIOLATED, EXIT_INCONCLUSIVE, EXIT_SLO = 1, 3, 4, 5


def figures(
    history: History,
    reports: Sequence[Report],
    verdicts: Sequence[Verdict],
    proof_s: float,
    slos: Sequence[Slo],
) -> dict[str, Any]:
    """Return the summary of a run.

    The workers' reports tell of what is not in the history: logins, and reads that failed.
    """
    run = _Run(history, reports)
    about = history.about
    summary: dict[str, Any] = {
        "run": {
            "host": about.get("host", ""),
            "started_at": about.get("started_at", f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"),
            "seconds": round(run.seconds, 3),
            "users": about.get("users", 0),
            "workers": about.get("workers", 1),
            "hot_product": about.get("hot_product", ""),
            "workload": about.get("workload", ""),
            "weights": about.get("weights", {}),
            "shape": about.get("shape", ""),
            "rate": about.get("rate", 0),
            "alone": history.alone,
            "shop": about.get("shop", ""),
            "load_test": f"sportshop {__version__}",
        },
        "throughput": run.throughput(),
        "latencies_ms": run.latencies(),
        "intended_latencies_ms": _intended(reports),
        "missed_arrivals": sum(report.missed for report in reports)
        + round(about.get("lost_per_s", 0) * run.seconds),
        "task_errors": _task_errors(reports),
        "slos": [],
        "proof": {
            "outcome": str(worst(verdicts)),
            "operations": len(history),
            "seconds": round(proof_s, 3),
            "verdicts": msgspec.to_builtins(verdicts),
        },
        "series": run.series(about.get("hot_product", "")),
        "stock": run.stock(about.get("hot_product", "")),
    }
    summary["slos"] = [check(slo, summary)._asdict() for slo in slos]
    summary["exit_code"] = exit_code(summary)
    return summary


def exit_code(summary: Mapping[str, Any]) -> int:
    """Return what the run comes to: a failed proof outranks the rest."""
    outcome = summary["proof"]["outcome"]
    if outcome == "fail":
        return EXIT_VIOLATED
    if outcome == "inconclusive":
        return EXIT_INCONCLUSIVE
    if not all(slo["kept"] for slo in summary["slos"]):
        return EXIT_SLO
    failed = summary["task_errors"] or any(row["failed"] for row in summary["latencies_ms"])
    return EXIT_FAILED if failed else 0


class _Run:
    """Columns of what the shoppers did: not the first and the last lists, nor what was settled."""

    def __init__(self, history: History, reports: Sequence[Report]) -> None:
        self._others = _merged([report.others for report in reports])
        self._waits = _merged([report.waits for report in reports])
        self._failed: Counter[str] = Counter()
        for report in reports:
            self._failed.update(report.failed)
        self._books = Books(history)
        self._of = history.operations
        self._kind = self._of["kind"]
        asked = np.isin(self._kind, (*ORDERS, Kind.PRODUCTS, Kind.ORDERS))
        ended = np.full(256, FOREVER)
        for report in reports:
            ended[report.block.worker] = report.ended_ns
        asked &= self._of["sent"] <= ended[self._of["worker"]]
        self._asked = np.flatnonzero(asked)
        sent = self._of["sent"][self._asked]
        # Clocks of several machines have nothing in common: each starts at its own first request.
        clock = self._books.clock[self._asked]
        began = np.zeros(int(clock.max(initial=0)) + 1, np.int64)
        for number in np.unique(clock):
            began[number] = sent[clock == number].min()
        self._at_s = (sent - began[clock] if len(sent) else sent) / NS
        took = self._of["took"][self._asked]
        self._took_ms = took / 1e3
        self._answered = took < TOOK_MAX
        numbers = dict(zip(self._of["worker"][self._asked].tolist(), clock.tolist(), strict=True))
        failed_s = [
            (np.array(report.failed_ns, np.int64) - began[numbers[report.block.worker]]) / NS
            for report in reports
            if report.block.worker in numbers
        ]
        self._failed_s = np.concatenate([np.zeros(0), *failed_s])
        """When orders failed: in the record those of an unknown outcome look like any."""
        ends = self._at_s + np.where(self._answered, self._took_ms / 1e3, 0)
        self._end_s = ends
        # A shop that answers no more does not make the run shorter.
        clocks = dict.fromkeys(
            zip(self._of["worker"][self._asked].tolist(), clock.tolist(), strict=True)
        )
        whole = [
            (int(ended[worker]) - int(began[number])) / NS
            for worker, number in clocks
            if ended[worker] != FOREVER
        ]
        self.seconds = max([float(ends.max(initial=0.0)), *whole])

    def throughput(self) -> dict[str, Any]:
        """Return count and rate of orders by outcome, and of all requests."""
        counts = {name: self._count(kinds) for name, kinds in OUTCOMES.items()}
        # Who lost his answer by a failure is in the record like one who hung up on purpose.
        lost = max(0, self._failed["NEW_ORDER_ITEM"] - counts["failed"])
        counts["failed"] += lost
        counts["unknown"] = max(0, counts["unknown"] - lost)
        counts["requests"] = self._requests()
        told: dict[str, Any] = {
            name: {"count": count, "per_s": self._rate(count)} for name, count in counts.items()
        }
        told["refused"]["not_found"] = self._not_found()
        return told

    def _rate(self, count: int) -> float | None:
        """Return how many there were per second; of a moment that says nothing."""
        if not count:
            return 0.0
        return round(count / self.seconds, 2) if self.seconds >= RATE_S_MIN else None

    def _not_found(self) -> int:
        """Return how many orders were of products that do not exist, but for those on purpose."""
        books = self._books
        some = self._asked[self._kind[self._asked] == Kind.NOT_FOUND]
        named = books.product[books.firsts[some] + books.counts[some] - 1]
        on_purpose = books.names.index(NO_PRODUCT) if NO_PRODUCT in books.names else -1
        return int((named != on_purpose).sum())

    def _requests(self) -> int:
        """Return how many there were: an order is in the record however it ended."""
        others = sum(histogram.get_total_count() for histogram in self._others.values())
        failed = sum(self._failed.values()) - self._failed["NEW_ORDER_ITEM"]
        return len(self._asked) + int(others) + failed

    def _count(self, kinds: Sequence[Kind]) -> int:
        return int(np.isin(self._kind[self._asked], kinds).sum())

    def latencies(self) -> list[dict[str, Any]]:
        """Return a row for each kind of request, and one for all."""
        rows = []
        for name, kinds in REQUESTS.items():
            some = np.isin(self._kind[self._asked], kinds)
            row = self._row(name, some, self._failed[name], self._waited(name))
            if name in READ_REQUESTS:
                row["count"] += row["failed"]  # a read that failed is not in the history
            if row["count"]:
                rows.append(row)
        for name in sorted((self._others.keys() | self._failed.keys()) - REQUESTS.keys()):
            row = _histogram_row(name, self._others.get(name) or _histogram())
            row["failed"] = self._failed[name]
            rows.append(row | {"count": row["count"] + row["failed"]})
        asked = np.ones(len(self._asked), bool)
        failed = sum(self._failed.values())
        others = [_values_ms(histogram) for histogram in self._others.values()]
        waits = [wait for name in self._waits for wait in self._waited(name)]
        everything = self._row("all", asked, failed, [*others, *waits])
        return [*rows, everything | {"count": self._requests()}]

    def _waited(self, name: str) -> list[Array]:
        return [_values_ms(self._waits[name])] if name in self._waits else []

    def _row(
        self, name: str, some: Array, failed: int, others: Sequence[Array] = ()
    ) -> dict[str, Any]:
        took = np.concatenate([self._took_ms[some & self._answered], *others])
        shown: dict[str, Any] = {"name": name, "count": int(some.sum()), "failed": failed}
        if not len(took):
            return shown | dict.fromkeys(["mean", *PERCENTILES, "max"], None)
        found = np.percentile(took, list(PERCENTILES.values()), method="inverted_cdf")
        shown["mean"] = round(float(took.mean()), 4)
        shown |= dict(zip(PERCENTILES, (round(float(ms), 4) for ms in found), strict=True))
        return shown | {"max": round(float(took.max()), 4)}

    def series(self, hot: str) -> dict[str, Any]:
        """Return the run by the second."""
        count = int(self.seconds) + 1
        second = np.minimum(self._end_s.astype(np.int64), count - 1)
        kind = self._kind[self._asked]
        series: dict[str, Any] = {"second": list(range(count))}
        for name in ("accepted", "refused", "replayed"):
            some = np.isin(kind, OUTCOMES[name])
            series[name] = np.bincount(second[some], minlength=count).tolist()
        at = np.clip(self._failed_s, 0, count - 1).astype(np.int64)
        series["failed"] = np.bincount(at, minlength=count).tolist()
        orders = np.isin(kind, ORDERS) & self._answered
        series |= {"p50_ms": [], "p99_ms": []}
        by_second = np.argsort(second[orders], kind="stable")
        took_ms = self._took_ms[orders][by_second]
        ends = np.searchsorted(second[orders][by_second], np.arange(1, count))
        for took in np.split(took_ms, ends):
            for name, share in (("p50_ms", 50), ("p99_ms", 99)):
                ms = round(float(np.percentile(took, share)), 3) if len(took) else None
                series[name].append(ms)
        at_s, left = self._left(hot)
        last = np.searchsorted(at_s, np.arange(1, count + 1), "left") - 1
        last[-1] = len(left) - 1
        series["hot_stock"] = [int(left[at]) if at >= 0 else None for at in last]
        return series

    def stock(self, hot: str) -> dict[str, Any]:
        """Return what the hot product had left at some moments, and the one when it was gone."""
        at_s, left = self._left(hot)
        gone = np.flatnonzero(left <= 0)[:1]
        even = np.linspace(0, len(left) - 1, STOCK_POINTS_MAX // 2).astype(np.int64)
        in_time = np.searchsorted(
            at_s, np.linspace(0, self.seconds, STOCK_POINTS_MAX // 2), "right"
        )
        shown = np.unique(np.concatenate([even, in_time - 1, gone]))
        shown = shown[(shown >= 0) & (shown < len(left))]
        return {
            "at_s": [round(second, 6) for second in at_s[shown].tolist()],
            "left": left[shown].tolist(),
            "sold_out_s": round(float(at_s[gone[0]]), 6) if len(gone) else None,
        }

    def _left(self, hot: str) -> tuple[Array, Array]:
        """Return when what was left of the hot product changed, and to what, from 0 s on.

        When: as the answers came. What: as of the latest position that was answered by then.
        """
        books = self._books
        nothing = np.zeros(0), np.zeros(0, np.int64)
        if hot not in books.names:
            return nothing
        product = books.names.index(hot)
        start = np.zeros(0, np.int64)
        if books.opening is not None:
            rows = books.rows_of(np.array([books.opening]))
            start = books.stock[rows][books.product[rows] == product][:1]
        # A replay counts too: its receipt may be the first one that came.
        told = np.flatnonzero(np.isin(self._kind[self._asked], (Kind.ACCEPTED, Kind.REPLAYED)))
        operations = self._asked[told]
        rows = books.rows_of(operations)
        of_hot = books.product[rows] == product
        owner = np.repeat(np.arange(len(operations)), books.counts[operations])[of_hot]
        position = books.position[operations][owner]
        order = np.lexsort((position, self._end_s[told][owner]))
        at_s, position = self._end_s[told][owner][order], position[order]
        newest = np.where(position == np.maximum.accumulate(position), np.arange(len(order)), 0)
        left = books.stock[rows][of_hot][order][np.maximum.accumulate(newest)]
        return np.concatenate([np.zeros(len(start)), at_s]), np.concatenate([start, left])


def _task_errors(reports: Sequence[Report]) -> list[dict[str, Any]]:
    """Return the exceptions of the workload's own tasks, the most frequent first."""
    counts: Counter[str] = Counter()
    for report in reports:
        counts.update(report.task_errors)
    return [{"error": error, "count": count} for error, count in counts.most_common()]


def _intended(reports: Sequence[Report]) -> list[dict[str, Any]]:
    """Return the latencies from the intended start, of all workers together."""
    merged = _merged([report.intended for report in reports])
    if merged:
        everything = _histogram()
        for histogram in merged.values():
            everything.add(histogram)
        merged["all"] = everything
    names = sorted(merged, key=lambda name: (name == "all", name))
    return [_histogram_row(name, merged[name]) for name in names]


def _merged(reports: Sequence[Mapping[str, bytes]]) -> dict[str, HdrHistogram]:
    merged: dict[str, HdrHistogram] = {}
    for encoded in reports:
        for name, one in encoded.items():
            merged.setdefault(name, _histogram()).decode_and_add(one)
    return merged


def _values_ms(histogram: HdrHistogram) -> Array:
    found = [
        (item.value_iterated_to, item.count_added_in_this_iter_step)
        for item in histogram.get_recorded_iterator()
    ]
    values, counts = zip(*found, strict=True) if found else ((), ())
    return np.repeat(np.array(values, float) / 1e3, counts)


def _histogram() -> HdrHistogram:
    return HdrHistogram(1, LATENCY_US_MAX, DIGITS)


def _histogram_row(name: str, histogram: HdrHistogram) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": name, "count": histogram.get_total_count(), "failed": 0}
    if not shown["count"]:
        return shown | dict.fromkeys(["mean", *PERCENTILES, "max"], None)
    shown["mean"] = histogram.get_mean_value() / 1e3
    for label, percent in PERCENTILES.items():
        shown[label] = histogram.get_value_at_percentile(percent) / 1e3
    return shown | {"max": histogram.get_max_value() / 1e3}
