"""Deadlines, and the pauses between attempts.

A deadline belongs to a whole call: whatever the call waits for takes from the same seconds, so a
shop that sends a byte now and then cannot keep it waiting. Knows no socket.
"""

import random
import time

from sportshop.client.errors import DeadlineExceeded

PAUSE_S_FIRST = 0.05
PAUSE_S_MAX = 2.0


class Deadline:
    """The moment, `timeout_s` seconds from now, at which a call gives up."""

    __slots__ = ("_at_s", "timeout_s")

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._at_s = time.monotonic() + timeout_s

    def left_s(self) -> float:
        """Return the seconds left, more than 0. Raises DeadlineExceeded."""
        left_s = self._at_s - time.monotonic()
        if left_s <= 0:
            raise self.exceeded()
        return left_s

    def exceeded(self) -> DeadlineExceeded:
        """Return the exception to raise."""
        return DeadlineExceeded(self.timeout_s)

    def allows(self, pause_s: float) -> bool:
        """Tell whether some of the time is left after a pause."""
        return self._at_s - time.monotonic() > pause_s


def pause_s(failures: int) -> float:
    """Return how long to wait after the n-th failure in a row, from the first on.

    It doubles up to PAUSE_S_MAX, and the upper half of it is random, so that clients that lost a
    shop together do not come back together.
    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    longest_s = min(PAUSE_S_MAX, PAUSE_S_FIRST * 2.0 ** min(failures - 1, 16))
    return longest_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
