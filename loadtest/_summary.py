"""Summary: a run on one screen: what was sold and refused, how fast, and the verdict.

Knows no shop and no Locust run, only their numbers.
"""

from collections.abc import Iterable, Sequence

from _measured import REQUEST_TYPE
from _tally import Count, Tally
from locust.stats import RequestStats, StatsEntry, bucket_response_time

from sportshop.audit import Outcome, Verdict, worst

PERCENTILES = (0.5, 0.95, 0.99)
FAILURES_MAX = 5  # kinds of failures shown: the rest is in Locust's own tables
_coarse = bucket_response_time


def latency_bucket(response_time: float) -> float:
    """Round a latency in ms to two digits also below 10 ms, where Locust rounds to 1 ms.

    It is still a few hundred buckets at most, which is what Locust's own rounding is for.
    """
    if response_time < 10:
        return round(response_time, 2 if response_time < 1 else 1)
    return _coarse(response_time)


def summary(stats: RequestStats, tally: Tally, verdicts: Sequence[Verdict]) -> str:
    """Return the screen."""
    entries = sorted(
        (entry for (_, kind), entry in stats.entries.items() if kind == REQUEST_TYPE),
        key=lambda entry: entry.name,
    )
    requests = sum(entry.num_requests for entry in entries)
    failures = sum(entry.num_failures for entry in entries)
    return "\n".join(
        [
            *_latencies(entries),
            "",
            f"requests  {requests:,} ({_rate(requests, _seconds(entries))}), {failures:,} failed",
            *_failures(stats),
            *_orders(tally),
            *_verdict(verdicts),
        ]
    )


def _latencies(entries: Iterable[StatsEntry]) -> list[str]:
    lines = ["latency in ms         count   failed      p50      p95      p99      max"]
    for entry in entries:
        shown = [entry.get_response_time_percentile(percent) for percent in PERCENTILES]
        times = "".join(f"{ms:9.4g}" for ms in (*shown, latency_bucket(entry.max_response_time)))
        lines.append(f"{entry.name:16}{entry.num_requests:11,}{entry.num_failures:9,}{times}")
    return lines


def _failures(stats: RequestStats) -> list[str]:
    errors = (error for error in stats.errors.values() if error.method == REQUEST_TYPE)
    most = sorted(errors, key=lambda error: -error.occurrences)
    return [
        f"          {error.occurrences:,} {error.name}: {error.error}"
        for error in most[:FAILURES_MAX]
    ]


def _orders(tally: Tally) -> list[str]:
    lines = [
        f"accepted  {_counted(tally.accepted)}",
        f"sold out  {_counted(tally.sold_out)}",
    ]
    if tally.refused.n:
        lines.append(f"refused   {_counted(tally.refused)}, for other reasons")
    if tally.unsettled:
        lines.append(f"unknown   {len(tally.unsettled):,} orders, cut short before their answer")
    return lines


def _verdict(verdicts: Sequence[Verdict]) -> list[str]:
    outcome = worst(verdicts)
    kept = sum(verdict.outcome is Outcome.PASS for verdict in verdicts)
    lines = [f"audit     {outcome.upper()}: {kept} of {len(verdicts)} rules hold"]
    lines += [str(verdict) for verdict in verdicts if verdict.outcome is not Outcome.PASS]
    return lines


def _counted(count: Count) -> str:
    if not count.n:
        return "none"
    return f"{count.n:,} orders in {count.seconds:.1f} s ({_rate(count.n, count.seconds)})"


def _seconds(entries: Sequence[StatsEntry]) -> float:
    """Return the time from the first request to the last."""
    if not entries:
        return 0.0
    last = max(entry.last_request_timestamp or entry.start_time for entry in entries)
    return last - min(entry.start_time for entry in entries)


def _rate(n: int, seconds: float) -> str:
    return f"{n / seconds:,.0f}/s" if seconds > 0 else "all at once"
