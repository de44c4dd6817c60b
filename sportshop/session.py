"""A session: what one client may ask and when.

Takes lines and returns what is to be done about them. Holds no socket, no clock and no store,
so a test drives it by calling it. What needs any of these is done by connection.py.
"""

from collections.abc import Mapping
from enum import Enum, auto

import msgspec
from msgspec import UNSET

from sportshop import messages
from sportshop.messages import (
    FRAME_BYTES_MAX,
    Authentication,
    BadMessage,
    Credentials,
    GetOrders,
    GetProducts,
    ItemWanted,
    NewOrderItem,
    OrdersWanted,
    ProductsWanted,
    Reason,
)
from sportshop.orders import ITEMS_MAX, Item, Order
from sportshop.users import User

LOGINS_FAILED_MAX = 5  # on one connection, then it is closed


class Refused(msgspec.Struct, frozen=True):
    """The request is refused with an ERROR and, if it says so, the connection closed."""

    reason: Reason
    message: str
    closes: bool = False
    facts: Mapping[str, object] | None = None


Step = Credentials | ProductsWanted | OrdersWanted | Order | Refused | None
"""What is to be done about a line; None where nothing is to be answered yet."""


class State(Enum):
    """What the session waits for."""

    LOGIN = auto()
    """A login; anything else is refused."""
    LOGIN_REST_OF_ORDER = auto()
    """The rest of an order that was refused because nobody is logged in: it has its answer."""
    REQUEST = auto()
    """Any request of the user who is logged in."""
    REST_OF_ORDER = auto()
    """The next item of the order that has begun."""


_REQUEST = State.REQUEST  # looking it up in the enumeration takes 0.07 µs


class Session:
    """The conversation with one client."""

    __slots__ = ("_failed_logins", "_items", "_key", "state", "user")

    def __init__(self) -> None:
        self.state = State.LOGIN
        self.user: User | None = None
        self._failed_logins = 0
        self._items: list[Item] | None = None
        self._key: str | None = None

    @property
    def gathers_order(self) -> bool:
        """Tell whether an order has begun and not ended."""
        return self._items is not None

    def receive(self, line: bytes) -> Step:
        """Return what is to be done about a line."""
        try:
            request = messages.decode_request(line)
        except BadMessage as bad:
            if self.state is State.LOGIN_REST_OF_ORDER:
                self.state = State.LOGIN
            return Refused(bad.reason, bad.message, closes=self._abandon_order())
        if isinstance(request, NewOrderItem):
            if self.state is _REQUEST and request.end_of_data:  # nearly every order
                return self._lone_item(request.data)
            return self._item(request)
        return self._other(request)

    def welcome(self, user: User) -> None:
        """Let the user in."""
        self.user = user
        self.state = State.REQUEST

    def refuse_login(self) -> Refused:
        """Refuse the credentials, for the last time on this connection if it is the fifth."""
        self._failed_logins += 1
        return Refused(
            Reason.INVALID_CREDENTIALS,
            "the user or the password is wrong, or the token has expired",
            closes=self._failed_logins >= LOGINS_FAILED_MAX,
        )

    def _other(self, request: Authentication | GetProducts | GetOrders) -> Step:
        if self._abandon_order():
            message = f"expected the next item of the order, not {request.__struct_config__.tag}"
            return Refused(Reason.UNEXPECTED_MESSAGE, message, closes=True)
        if isinstance(request, Authentication):
            if self.state is State.REQUEST:
                return Refused(Reason.ALREADY_AUTHENTICATED, "this connection is logged in")
            self.state = State.LOGIN
            return request.data
        if self.user is None:
            self.state = State.LOGIN
            return _not_authenticated()
        return request.data

    def _lone_item(self, wanted: ItemWanted) -> Order:
        assert self.user is not None  # noqa: S101 - REQUEST says so; for the type checker
        key = wanted.order_key
        item = Item(wanted.product_name, wanted.quantity)
        return Order(self.user, (item,), None if key is UNSET else key)

    def _item(self, request: NewOrderItem) -> Step:
        if self.user is None:
            return self._item_of_nobody(request)
        if self._items is None:
            self.state, self._items, self._key = State.REST_OF_ORDER, [], None
        refused = self._gather(request.data, self._items)
        if refused:
            self._abandon_order()
            return refused
        return self._complete(self.user, self._items) if request.end_of_data else None

    def _item_of_nobody(self, request: NewOrderItem) -> Refused | None:
        """Refuse an order once, at its first item, and pass over the others."""
        answered = self.state is State.LOGIN_REST_OF_ORDER
        self.state = State.LOGIN if request.end_of_data else State.LOGIN_REST_OF_ORDER
        return None if answered else _not_authenticated()

    def _gather(self, wanted: ItemWanted, items: list[Item]) -> Refused | None:
        if len(items) == ITEMS_MAX:
            message = f"an order has at most {ITEMS_MAX} items"
            return Refused(Reason.ORDER_TOO_LARGE, message, closes=True)
        if wanted.order_key is not UNSET:
            if self._key not in {None, wanted.order_key}:
                message = "data.orderKey differs from the one of an earlier item of this order"
                return Refused(Reason.MALFORMED_MESSAGE, message, closes=True)
            self._key = wanted.order_key
        items.append(Item(wanted.product_name, wanted.quantity))
        return None

    def _complete(self, user: User, items: list[Item]) -> Order | Refused:
        order = Order(user, tuple(items), self._key)
        self._abandon_order()
        if messages.receipt_bytes_max(item.product_name for item in items) > FRAME_BYTES_MAX:
            message = f"the receipt would not fit a frame of {FRAME_BYTES_MAX} bytes"
            return Refused(Reason.ORDER_TOO_LARGE, message, closes=True)
        return order

    def _abandon_order(self) -> bool:
        """Forget the order that has begun; tell whether there was one."""
        if self.state is not State.REST_OF_ORDER:
            return False
        self.state, self._items, self._key = State.REQUEST, None, None
        return True


def _not_authenticated() -> Refused:
    return Refused(Reason.NOT_AUTHENTICATED, "log in first with AUTHENTICATION")
