"""Deadlines, and the pauses between attempts.

A deadline belongs to a whole call: whatever the call waits for takes from the same seconds, so a
shop that sends a byte now and then cannot keep it waiting. Knows no socket.
"""

import math
import numbers
import random
import time

from sportshop.client.errors import ConnectionLost, DeadlineExceeded, ShopError

PAUSE_S_FIRST = 0.05
PAUSE_S_MAX = 2.0
TIMEOUT_S_MAX = 1_000_000.0  # eleven days: a system call takes at most 2^31 milliseconds
PATIENCE_SHARE = 0.5  # as much is left for the same request on another connection


def check_timeout_s(timeout_s: object) -> float:
    """Return the seconds. Raises TypeError, and ValueError unless 0 < timeout_s <= the most."""
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, numbers.Real):
        raise TypeError(f"timeout_s: expected a number of seconds, found {timeout_s!r}")
    try:
        seconds = float(timeout_s)
    except OverflowError:
        seconds = math.inf
    if not 0 < seconds <= TIMEOUT_S_MAX:  # NaN compares as false
        raise ValueError(
            f"timeout_s: expected more than 0 and at most {TIMEOUT_S_MAX:,.0f} seconds,"
            f" found {timeout_s!r}"
        )
    return seconds


class Deadline:
    """The moment, `timeout_s` seconds from now, at which a call gives up."""

    __slots__ = ("_at_s", "timeout_s")

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._at_s = time.monotonic() + timeout_s

    def left_s(self) -> float:
        """Return the seconds left, more than 0. Raises `exceeded()`."""
        left_s = self._at_s - time.monotonic()
        if left_s <= 0:
            raise self.exceeded()
        return left_s

    def exceeded(self) -> ShopError:
        """Return the exception to raise."""
        return DeadlineExceeded(self.timeout_s)

    def patience(self) -> "Patience":
        """Return the moment at which to give up a connection that says nothing at all."""
        return Patience(PATIENCE_SHARE * self.left_s())

    def allows(self, pause_s: float) -> bool:
        """Tell whether some of the time is left after a pause."""
        return self._at_s - time.monotonic() > pause_s


class Patience(Deadline):
    """How long to wait for the first byte of an answer on a connection that has been used before.

    A router in between may have forgotten it, and then swallows everything without a word. When
    this is over the connection is lost, not the call: the rest of its time is for another one.
    """

    __slots__ = ()

    def exceeded(self) -> ShopError:
        """Return the exception to raise."""
        return ConnectionLost("receive", f"no word from the shop for {self.timeout_s:.3g} seconds")


def pause_s(failures: int) -> float:
    """Return how long to wait after the n-th failure in a row, from the first on.

    It doubles up to PAUSE_S_MAX, and the upper half of it is random, so that clients that lost a
    shop together do not come back together.
    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    longest_s = min(PAUSE_S_MAX, PAUSE_S_FIRST * 2.0 ** min(failures - 1, 16))
    return longest_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
