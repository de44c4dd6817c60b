"""Errors: every way in which a call of the client can fail, each with its facts as attributes.

They fall into three families. Refused: the shop answered, and said no. ConnectionLost,
DeadlineExceeded and ProtocolViolation: there was no answer that could be believed.
OutcomeUnknown: an order may or may not have been placed, and only asking again can tell.
Knows no socket: turns an ERROR that was received into its exception, and nothing else.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from sportshop.messages import Answer, Reason

_Count = Annotated[int, msgspec.Meta(ge=0)]


class ShopError(Exception):
    """What every error of this client derives from.

    It can be copied and pickled, so that it reaches the parent of a pool of processes with all
    its facts, and with its cause where that is a ShopError.
    """

    def __reduce__(self) -> tuple[object, ...]:
        # Exception's own would call the class with the message alone.
        cause = self.__cause__ if isinstance(self.__cause__, ShopError) else None
        return _as_it_was, (type(self), self.args, dict(self.__dict__), cause)


def _as_it_was(
    kind: type[ShopError],
    arguments: tuple[object, ...],
    facts: Mapping[str, object],
    cause: ShopError | None,
) -> ShopError:
    """Return the error that was pickled, without calling its class."""
    problem = kind.__new__(kind, *arguments)
    problem.__dict__.update(facts)
    problem.__cause__ = cause
    return problem


class ConnectionLost(ShopError):
    """The connection could not be made, or broke. `stage`: "connect", "send" or "receive"."""

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(message)
        self.stage = stage


class DeadlineExceeded(ShopError):
    """The call did not finish within `timeout_s` seconds; its connection was closed."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"no answer within {timeout_s:g} seconds")
        self.timeout_s = timeout_s


class ProtocolViolation(ShopError):
    """The shop sent what PROTOCOL.md does not allow; the connection was closed."""


class OutcomeUnknown(ShopError):
    """The order may have been placed, or not. `__cause__` tells why nobody knows.

    Asking again with `key` and the same items settles it. An order without a key (`key` is None)
    can only be looked for among the user's orders.
    """

    def __init__(self, key: str | None) -> None:
        super().__init__("the order may have been placed, or not")
        self.key = key


class Refused(ShopError):
    """The shop answered ERROR. An order that is refused was not placed.

    `reason` is the wire's reason, `message` an English sentence, `retryable` whether the same
    request may succeed later, `facts` the other fields of the ERROR under their wire names.
    A reason that this client does not know is a plain Refused.
    """

    def __init__(
        self, reason: str, message: str, retryable: bool, facts: Mapping[str, object]
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retryable = retryable
        self.facts = facts


# What PROTOCOL.md promises beside reason, message and retryable.


class _Missing(msgspec.Struct, rename="camel"):
    product_name: str
    as_of: _Count


class _Shortage(msgspec.Struct, rename="camel"):
    product_name: str
    requested: _Count
    available: _Count
    as_of: _Count


class _Reused(msgspec.Struct, rename="camel"):
    order_key: str


class MalformedMessage(Refused):
    """The shop could not read the request, or a field was out of range."""


class UnexpectedMessage(Refused):
    """The request bore a code that only the shop sends."""


class FrameTooLong(Refused):
    """The request was longer than a frame may be. The shop has closed the connection."""


class NotAuthenticated(Refused):
    """Nobody has logged in on this connection."""


class AlreadyAuthenticated(Refused):
    """Somebody has logged in on this connection already."""


class InvalidCredentials(Refused):
    """The user, the password or the token is wrong; the shop does not say which."""


class ProductNotFound(Refused):
    """There is no product called `product_name`, as of ledger position `as_of`."""

    def __init__(
        self, reason: str, message: str, retryable: bool, facts: Mapping[str, object]
    ) -> None:
        super().__init__(reason, message, retryable, facts)
        checked = msgspec.convert(facts, _Missing)
        self.product_name = checked.product_name
        self.as_of = checked.as_of


class InsufficientStock(Refused):
    """`requested` units of `product_name`, `available` of them left, as of position `as_of`."""

    def __init__(
        self, reason: str, message: str, retryable: bool, facts: Mapping[str, object]
    ) -> None:
        super().__init__(reason, message, retryable, facts)
        checked = msgspec.convert(facts, _Shortage)
        self.product_name = checked.product_name
        self.requested = checked.requested
        self.available = checked.available
        self.as_of = checked.as_of


class SoldOut(InsufficientStock):
    """Not one unit of `product_name` is left: `available` is 0."""


class OrderKeyReused(Refused):
    """The user has used the key, `order_key`, for an order of other items."""

    def __init__(
        self, reason: str, message: str, retryable: bool, facts: Mapping[str, object]
    ) -> None:
        super().__init__(reason, message, retryable, facts)
        self.order_key = msgspec.convert(facts, _Reused).order_key


class OrderTooLarge(Refused):
    """The order had too many items. The shop has closed the connection."""


class Busy(Refused):
    """More connections, logins or waiting orders than the shop accepts."""


class TimedOut(Refused):
    """The shop waited too long for this client, and has closed the connection."""


class ShuttingDown(Refused):
    """The shop takes no more requests, and has closed the connection."""


class StorageFailed(Refused):
    """The shop's disk or database refused. What it did with the request is unknown."""


_BY_REASON: dict[str, type[Refused]] = {
    Reason.MALFORMED_MESSAGE: MalformedMessage,
    Reason.UNEXPECTED_MESSAGE: UnexpectedMessage,
    Reason.FRAME_TOO_LONG: FrameTooLong,
    Reason.NOT_AUTHENTICATED: NotAuthenticated,
    Reason.ALREADY_AUTHENTICATED: AlreadyAuthenticated,
    Reason.INVALID_CREDENTIALS: InvalidCredentials,
    Reason.PRODUCT_NOT_FOUND: ProductNotFound,
    Reason.INSUFFICIENT_STOCK: InsufficientStock,
    Reason.ORDER_KEY_REUSED: OrderKeyReused,
    Reason.ORDER_TOO_LARGE: OrderTooLarge,
    Reason.BUSY: Busy,
    Reason.TIMED_OUT: TimedOut,
    Reason.SHUTTING_DOWN: ShuttingDown,
    Reason.STORAGE_FAILED: StorageFailed,
}


class _Error(msgspec.Struct):
    reason: str
    message: str
    retryable: bool


def refusal(answer: Answer) -> Refused:
    """Return the exception that an ERROR stands for. Raises ProtocolViolation if it is unfit."""
    if not answer.end_of_data:
        raise ProtocolViolation("an ERROR that says that more follows")
    try:
        error = msgspec.convert(answer.data, _Error)
        facts = {name: answer.data[name] for name in answer.data.keys() - _Error.__struct_fields__}
        kind = _BY_REASON.get(error.reason, Refused)
        if kind is InsufficientStock and facts.get("available") == 0:
            kind = SoldOut
        return kind(error.reason, error.message, error.retryable, facts)
    except msgspec.ValidationError as problem:
        raise ProtocolViolation(f"an ERROR without what it promises: {problem}") from None
