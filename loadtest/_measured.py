"""Measured: exchanges with the shop, each reported to Locust with its true latency.

The clock runs from before the first byte is sent until the last byte of the answer is there; what
the shoppers then do with the answer is not the shop's time. A request that is cut short because
the test ends is not reported at all. Knows neither customers nor orders.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from sportshop.client import (
    Client,
    ConnectionLost,
    DeadlineExceeded,
    FrameTooLong,
    OrderTooLarge,
    Refused,
    ShopError,
    ShuttingDown,
    StorageFailed,
    TimedOut,
)
from sportshop.messages import Answer, Code

REQUEST_TYPE = "TCP"
WARNINGS_MAX = 5  # of one kind: more say nothing new

_SHOP_CLOSED = (FrameTooLong, OrderTooLarge, TimedOut, ShuttingDown, StorageFailed)
_log = logging.getLogger("loadtest")
_warned: Counter[str] = Counter()
_S = TypeVar("_S")
_T = TypeVar("_T")

Lines = Sequence[Mapping[str, object]]
"""The data of a request's messages: one, but for an order of several items."""
Read = Callable[[Sequence[Answer]], _T]
"""Makes a value of an answer's messages. Raises Refused, ProtocolViolation."""


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


def exchange(client: Client, code: Code, lines: Lines) -> list[Answer]:
    """Send a request and return the messages of its answer. Raises ShopError."""
    for data in lines[:-1]:
        client.send_request(code, data, end_of_data=False)
    client.send_request(code, lines[-1])
    answers = [client.receive_answer()]
    while not answers[-1].end_of_data:
        answers.append(client.receive_answer())
    return answers


class MeasuredClient:
    """A connection to the shop whose every use Locust hears of. Not for two greenlets at once.

    After an error that leaves the connection in doubt it is closed, and can be made again.
    """

    def __init__(self, client: Client, report: Report) -> None:
        self._client = client
        self._report = report

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, as far as this side knows."""
        return self._client.is_connected

    def connect(self) -> None:
        """Connect, reported as "connect", which is no code. Raises ShopError."""
        self._measure("connect", self._client.connect, lambda _: None)

    def ask(self, code: Code, lines: Lines, read: Read[_T]) -> _T:
        """Make a request, reported under its code. Raises ShopError, reported as a failure."""
        return self._measure(code.value, lambda: exchange(self._client, code, lines), read)

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def _measure(self, name: str, act: Callable[[], _S], read: Callable[[_S], _T]) -> _T:
        received, started_at, start = self._client.bytes_received, time.time(), time.perf_counter()
        took_ms = None

        def tell(response: object, failure: Failed | None) -> None:
            self._report(
                request_type=REQUEST_TYPE,
                name=name,
                start_time=started_at,
                response_time=_ms_since(start) if took_ms is None else took_ms,
                response_length=self._client.bytes_received - received,
                response=response,
                context={},
                exception=failure,
            )

        try:
            result = act()
            took_ms = _ms_since(start)
            value = read(result)
        except ShopError as problem:
            if not isinstance(problem, Refused) or isinstance(problem, _SHOP_CLOSED):
                self._client.close()
            tell(None, _failure(name, problem))
            raise
        tell(value, None)
        return value


def _ms_since(start: float) -> float:
    return (time.perf_counter() - start) * 1000.0


def _failure(name: str, problem: ShopError) -> Failed:
    """Return the failure by its kind, and log the particulars of the first few."""
    match problem:
        case Refused():
            kind = problem.reason
        case ConnectionLost():
            kind = f"connection lost: {problem.stage}"
        case DeadlineExceeded():
            kind = "no answer in time"
        case _:
            kind = "answered against the protocol"
    _warned[kind] += 1
    if _warned[kind] <= WARNINGS_MAX:
        _log.warning("%s failed: %s: %s", name, kind, problem)
    return Failed(kind)
