"""Attempts: whether a request that failed may be sent again, and whether an order is in doubt.

Reads, logins and orders with a key may be repeated, an order without a key may not. Holds no
socket and no clock, so a test drives it by calling it.
"""

from sportshop.client.deadline import pause_s
from sportshop.client.errors import (
    Busy,
    ConnectionLost,
    Refused,
    ShopError,
    ShuttingDown,
    StorageFailed,
    TimedOut,
)

# After these another connection may do better.
_CONNECTION_GONE = (ConnectionLost, ShuttingDown, TimedOut, StorageFailed)
# These say that this attempt placed nothing, but not what became of an earlier one.
_NOT_THIS_TIME = (Busy, ShuttingDown, TimedOut)


def check_attempts(limit: object) -> int:
    """Return the number of attempts. Raises TypeError, and ValueError unless it is 1 or more."""
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise TypeError(f"attempts: expected a whole number, found {limit!r}")
    if limit < 1:
        raise ValueError(f"attempts: expected 1 or more, found {limit!r}")
    return limit


class Attempts:
    """What is known of one request, over all the times that it is sent."""

    def __init__(self, limit: int, repeatable: bool) -> None:
        self.in_doubt = False
        """Whether the shop may have done what was asked without our knowing."""
        self._limit = limit
        self._repeatable = repeatable
        self._sent = False
        self._failures = 0
        self._connections_lost = 0

    @property
    def may_lose_a_connection(self) -> bool:
        """Whether a request that is lost with its connection would be sent again on another."""
        return self._repeatable and self._connections_lost + 1 < self._limit

    def begin(self) -> None:
        """Note that an attempt begins; nothing of the request has been sent in it."""
        self._sent = False

    def sending(self) -> None:
        """Note that from now on the shop may have the request."""
        self._sent = True

    def failed(self, problem: ShopError) -> float | None:
        """Note how the attempt failed. Return the seconds to wait for the next; None: give up.

        BUSY is asked again without end (the deadline is the end), a lost connection only so
        often, and an order without key only if the shop cannot have had it.
        """
        self._weigh(problem)
        self._failures += 1
        if isinstance(problem, Busy):
            return pause_s(self._failures)
        if not isinstance(problem, _CONNECTION_GONE) or (self._sent and not self._repeatable):
            return None
        self._connections_lost += 1
        return pause_s(self._failures) if self._connections_lost < self._limit else None

    def _weigh(self, problem: ShopError) -> None:
        """Settle by a refusal what became of the request; anything else leaves it open."""
        if not self._sent or isinstance(problem, _NOT_THIS_TIME):
            return
        self.in_doubt = not isinstance(problem, Refused) or isinstance(problem, StorageFailed)
