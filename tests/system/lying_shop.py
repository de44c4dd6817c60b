"""A small shop in memory that speaks the protocol and lies in one chosen way.

The load test has to find it out from its answers alone. Honest, it is a correct shop, though one
thread a connection and nothing on disk.
"""

import contextlib
import socketserver
import threading
from collections.abc import Iterator, Sequence
from enum import StrEnum

import msgspec

from sportshop import messages
from sportshop.messages import (
    Authentication,
    Code,
    GetOrders,
    GetProducts,
    ListWriter,
    NewOrderItem,
)
from sportshop.orders import Accepted, InsufficientStock, Item, Order, Outcome, Receipt, decide
from sportshop.products import Product, ProductList
from sportshop.users import User

PRICE = 14990
EVERY = 25  # one order in so many is lied about


class Lie(StrEnum):
    """What the shop does wrong."""

    NONE = "none"
    OVERSELL = "oversell"
    LOSE_ORDERS = "lose orders"
    GIVE_POSITIONS_TWICE = "give positions twice"
    KEEP_STOCK = "keep stock"


class LyingShop:
    """The shop's books, and the lies in them. Safe for many threads."""

    def __init__(self, lie: Lie, stock: dict[str, int]) -> None:
        self._lie = lie
        self._stock = dict(stock)
        self._taken = 0
        self._booked = 0
        self._listed: list[Receipt] = []
        self._keyed: dict[tuple[int, str], Receipt] = {}
        self._lock = threading.Lock()

    def products(self, sold_out: bool) -> list[bytes]:
        """Answer GET_PRODUCTS."""
        with self._lock:
            return messages.encode_products(self._shelf(), sold_out)

    def orders(self, user: User, before: int | None, limit: int | None) -> list[bytes]:
        """Answer GET_ORDERS."""
        with self._lock:
            own = [receipt for receipt in reversed(self._listed) if receipt.user == user]
            as_of = self._taken
        below = [receipt for receipt in own if before is None or receipt.position < before]
        writer = ListWriter(Code.ORDERS_LIST, "orders", as_of)
        return [*writer.add(map(messages.encode_order_entry, below[:limit])), writer.end()]

    def place(self, order: Order) -> bytes:
        """Answer NEW_ORDER_ITEM."""
        with self._lock:
            outcome = self._decide(order, self._shelf().products)
            if isinstance(outcome, InsufficientStock) and self._lie is Lie.OVERSELL:
                outcome = self._oversell(order, outcome)
            if not isinstance(outcome, Accepted):
                return messages.encode_refusal(outcome)
            if not outcome.replayed:
                outcome = Accepted(self._book(outcome.receipt), self._taken)
            return messages.encode_accepted(outcome)

    def _shelf(self) -> ProductList:
        names = sorted(self._stock)
        return ProductList(self._taken, tuple(Product(n, PRICE, self._stock[n]) for n in names))

    def _decide(self, order: Order, products: Sequence[Product]) -> Outcome:
        shelf = {product.name: product for product in products}
        return decide([order], shelf, self._keyed, self._taken, 0).outcomes[0]

    def _oversell(self, order: Order, refusal: InsufficientStock) -> Outcome:
        """Sell what is not there, as if just enough had been."""
        self._stock[refusal.product_name] = refusal.requested
        return self._decide(order, self._shelf().products)

    def _book(self, receipt: Receipt) -> Receipt:
        self._booked += 1
        lie = self._lie if self._booked % EVERY == 0 else Lie.NONE
        if lie is Lie.GIVE_POSITIONS_TWICE:
            receipt = msgspec.structs.replace(receipt, position=self._taken)
        self._taken = receipt.position
        if lie is not Lie.LOSE_ORDERS:
            self._listed.append(receipt)
        if lie is not Lie.KEEP_STOCK:
            self._stock |= {item.product_name: item.stock for item in receipt.items}
        if receipt.key is not None:
            self._keyed[receipt.user.id, receipt.key] = receipt
        return receipt


class Conversation(socketserver.StreamRequestHandler):
    """One connection: a line in, an answer out."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        user = User(0, "", "")
        items: list[Item] = []
        for line in self.rfile:
            match messages.decode_request(line):
                case Authentication(data):
                    name = str(data.user or data.token)
                    user = User(sum(name.encode()), name, "")
                    self.wfile.write(messages.encode_welcome(name, name))
                case GetProducts(data):
                    self.wfile.writelines(self.shop.products(data.sold_out))
                case GetOrders(data):
                    self.wfile.writelines(
                        self.shop.orders(user, data.before or None, data.limit or None)
                    )
                case NewOrderItem(data, end_of_data):
                    items.append(Item(data.product_name, data.quantity))
                    if end_of_data:
                        order = Order(user, tuple(items), data.order_key or None)
                        self.wfile.write(self.shop.place(order))
                        items = []

    @property
    def shop(self) -> LyingShop:
        assert isinstance(self.server, _Server)
        return self.server.shop


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, shop: LyingShop) -> None:
        super().__init__(("127.0.0.1", 0), Conversation)
        self.shop = shop

    def handle_error(self, request: object, client_address: object) -> None:
        """Shoppers hang up in the middle of a word when the test ends."""


@contextlib.contextmanager
def lying_shop(lie: Lie, stock: dict[str, int]) -> Iterator[str]:
    """Open a shop, yield its host:port, close it."""
    with _Server(LyingShop(lie, stock)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
