"""Schedule: when the requests of an open workload are meant to start.

People arrive whether the shop is quick or not. So arrivals have fixed times, on an absolute
schedule: who is late catches up, and his latency counts from when he was meant to start. A closed
loop, where everybody waits for his answer before he asks again, measures a shop that stalls
as seldom slow (coordinated omission). Knows no Locust.
"""

import heapq
import time

NS = 1_000_000_000
NEVER_NS = 2**62


class Schedule:
    """Arrivals of one process, which its users take in turn. Times in monotonic ns.

    It begins when the first of them asks: how long it took to log in is no arrival's delay.
    With 0 per second nobody arrives.
    """

    def __init__(self, per_second: float) -> None:
        self._gap_ns = NS / per_second if per_second else None
        self._begin_ns: int | None = None
        self._end_ns: int | None = None
        self._taken = 0
        self._returned: list[int] = []
        """A heap of arrivals that were given back."""

    def next_ns(self) -> int:
        """Take the next arrival; return when it is due. One that was given back comes first."""
        if self._returned:
            return heapq.heappop(self._returned)
        if self._gap_ns is None:
            return NEVER_NS
        if self._begin_ns is None:
            self._begin_ns = time.monotonic_ns()
        due = self._begin_ns + round(self._taken * self._gap_ns)
        self._taken += 1
        return due

    def give_back(self, arrival_ns: int) -> None:
        """Return an arrival that was taken and not begun: just that one."""
        heapq.heappush(self._returned, arrival_ns)

    def end(self, now_ns: int) -> None:
        """Let no more arrivals become due, from the first call on."""
        if self._end_ns is None:
            self._end_ns = now_ns

    def is_due(self, arrival_ns: int) -> bool:
        """Tell whether an arrival's time has come, before the end."""
        return arrival_ns <= (self._end_ns or time.monotonic_ns())

    def missed(self) -> int:
        """Return how many arrivals are due and have not been taken, or were given back."""
        if self._begin_ns is None or self._gap_ns is None:
            return 0
        now_ns = self._end_ns or time.monotonic_ns()
        due = int((now_ns - self._begin_ns) / self._gap_ns) + 1
        returned = sum(arrival_ns <= now_ns for arrival_ns in self._returned)
        return max(0, due - self._taken) + returned
