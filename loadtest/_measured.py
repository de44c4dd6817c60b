"""Measured: how a customer's requests are timed, counted and told, whatever becomes of them.

Locust hears of every request; what it forgets or rounds is kept in the process's part. Texts of the
shop reach neither a terminal nor Locust's tables as they came. Knows no socket.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from _answers import violation_text
from _options import Account
from _part import ORDER, Part

from sportshop.display import clean

WARNINGS_MAX = 5  # of one kind: more say nothing new
KINDS_MAX = 100
KIND_CHARACTERS_MAX = 100
OTHER_KIND = "another reason"
"""Of failures, when there are too many kinds to tell them apart."""
REQUEST = "TCP"
ENTRANCE = {"connect", "AUTHENTICATION"}
"""What comes before the request that somebody was meant to make."""
UNANSWERED = "unanswered"

_log = logging.getLogger("loadtest")


class Report(Protocol):
    """What Locust's `events.request.fire` is called with."""

    def __call__(
        self,
        *,
        request_type: str,
        name: str,
        start_time: float,
        response_time: float,
        response_length: int,
        response: object,
        context: Mapping[str, object],
        exception: Exception | None,
    ) -> None:
        """Take a request: `start_time` in seconds since 1970, `response_time` in ms."""


class Failed(Exception):
    """A request that failed, by its kind: Locust groups failures by their `repr`."""


class Measured:
    """What is measured of a customer.

    `report` hears of every request; without it they are no load, and only recorded.
    `intended_ns`: when the next request was meant to start, if not now (an open workload).
    """

    def __init__(self, part: Part, account: Account, report: Report | None) -> None:
        self._part = part
        self._account = account
        self._report = report
        self.intended_ns = 0

    def give_up(self) -> None:
        """Wait no longer for the answer: what was waited so far is told, for it can't hide."""
        self._arrived(UNANSWERED, time.monotonic_ns())

    def _fire(
        self, kind: str, name: str, began: int, answered: int, length: int, response: object
    ) -> None:
        if self._report is None:
            return
        if self.intended_ns and name not in ENTRANCE:
            self._arrived(name, answered)
        took_ms = (answered - began) / 1e6
        self._report(
            request_type=kind,
            name=name,
            start_time=time.time() - took_ms / 1000,
            response_time=took_ms,
            response_length=length,
            response=response,
            context={},
            exception=None,
        )

    def _arrived(self, name: str, answered: int) -> None:
        """Note the latency of the request that was meant to start at `intended_ns`."""
        self._part.intended(name, self.intended_ns, answered)
        self.intended_ns = 0

    def _violation(self, name: str, remarks: Sequence[str]) -> None:
        """Note what no correct shop could have answered, for the verdict."""
        for text in remarks:
            self._part.recorder.violation(violation_text(name, self._account.user, text))

    def _tell(
        self,
        name: str,
        began: int,
        length: int,
        response: object,
        failure: str = "",
        problem: Exception | None = None,
    ) -> None:
        """Report a request that failed, by its kind, or a connection; log the first few."""
        if self._report is None:
            return
        now = time.monotonic_ns()
        if failure:
            failure = self._kind(failure)
            if name == ORDER:
                self._part.order_failed(now)
            else:
                self._part.failed[name] += 1
            self._warn(failure, name, problem)
        else:
            self._part.other(name, now - began)
        took_ms = (now - began) / 1e6
        if self.intended_ns and failure and name not in ENTRANCE:
            self._arrived(name, now)
        self._report(
            request_type="failed" if failure and name == "NEW_ORDER_ITEM" else REQUEST,
            name=name,
            start_time=time.time() - took_ms / 1000,
            response_time=took_ms,
            response_length=length,
            response=response,
            context={},
            exception=Failed(failure) if failure else None,
        )

    def _kind(self, failure: str) -> str:
        """Return how a failure is called: the shop may say what it likes."""
        known = self._part.warned
        kind = clean(failure[:KIND_CHARACTERS_MAX])
        return kind if kind in known or len(known) < KINDS_MAX else OTHER_KIND

    def _warn(self, what: str, name: str, problem: object = None, most: int = WARNINGS_MAX) -> None:
        """Log something that failed; no more than a few of a kind in a run."""
        warned = self._part.warned
        if len(warned) < KINDS_MAX or what in warned:
            warned[what] += 1
            if warned[what] <= most:
                why = "" if problem is None else f": {problem}"
                _log.warning("%s: %s", name, clean(f"{what}{why}"))
