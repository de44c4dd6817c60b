"""A small, honest shop in memory that speaks the protocol: what the lying ones are made of.

One thread a connection, one lock for all decisions, and nothing on disk. It keeps to PROTOCOL.md;
each step is a method, so that a lie can override the one where it is told.
"""

import contextlib
import secrets
import socket
import socketserver
import sys
import threading
import time
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterator, Mapping
from unicodedata import normalize

from msgspec import UNSET
from msgspec.structs import replace

from sportshop import messages
from sportshop.framing import Framer
from sportshop.messages import (
    FRAME_BYTES_MAX,
    Code,
    Credentials,
    ListWriter,
    OrdersWanted,
    ProductsWanted,
    Reason,
)
from sportshop.orders import (
    Accepted,
    InsufficientStock,
    Item,
    Order,
    OrderKeyReused,
    Outcome,
    ProductNotFound,
    Receipt,
    SoldItem,
    quantities,
)
from sportshop.products import Product, ProductList
from sportshop.session import Refused, Session
from sportshop.users import User

PRICE = 14990  # cents, of whatever is not priced otherwise
PASSWORD = "senha"  # everybody's
HONEST_ORDERS = 50  # before the first lie, so that a client has something to compare it with
EVERY = 25  # one opportunity in so many is taken
BEHIND = 25  # orders between now and the moment that an old answer tells of
LINGER_S = 1.0  # after an error that closes: closing at once could reset it off the wire


class Shop:
    """An honest shop's books. Everything below `answer` runs with the lock held."""

    every = EVERY

    def __init__(self, stock: Mapping[str, int], prices: Mapping[str, int]) -> None:
        self.lock = threading.Lock()
        self.stock = dict(sorted(stock.items()))
        self.prices = prices
        self.honest_orders = HONEST_ORDERS
        self.opportunities = 0
        self.taken = 0
        self.ledger: list[Receipt] = []  # in the order in which they were accepted
        self.lists: dict[str, list[Receipt]] = defaultdict(list)  # by user, in ledger order
        self.keyed: dict[tuple[str, str], Receipt] = {}
        self.users: dict[str, User] = {}
        self.tokens: dict[str, User] = {}
        self.connections: set[socket.socket] = set()

    def its_turn(self) -> bool:
        """Count an opportunity to lie; tell whether to take it."""
        if len(self.ledger) < self.honest_orders:
            return False
        self.opportunities += 1
        return self.opportunities % self.every == 0

    def hear(self) -> None:
        """Take notice that requests have come, on the connection that is this thread's."""

    def hold_back(self) -> bool:
        """Tell whether to answer an order only after the request behind it."""
        return False

    def break_off(self, user: User, items: list[Item], key: str | None) -> None:
        """Take notice that somebody hung up in the middle of an order."""

    def answer(self, user: User, step: ProductsWanted | OrdersWanted | Order) -> bytes:
        """Answer the request of a user who is logged in."""
        with self.lock:
            if isinstance(step, Order):
                return self.tell(self.place(self.named(step)))
            if isinstance(step, ProductsWanted):
                return b"".join(messages.encode_products(self.shelf(), step.sold_out))
            return self.list_orders(user, step)

    def named(self, order: Order) -> Order:
        """Return the order with each product by the name that the shop has for it."""
        own = [self.own_name(item.product_name) for item in order.items]
        pairs = zip(order.items, own, strict=True)
        return replace(order, items=tuple(replace(item, product_name=name) for item, name in pairs))

    def own_name(self, name: str) -> str:
        composed = normalize("NFC", name)
        return composed if composed in self.stock else name

    # Logins.

    def login(self, given: Credentials) -> User | None:
        """Return who that is, or None."""
        if isinstance(given.token, str):
            return self.tokens.get(given.token)
        name = str(given.user)
        is_user = name.startswith("user") and name[4:].isdecimal()
        if given.password != PASSWORD or not is_user:
            return None
        with self.lock:
            return self.users.setdefault(name, User(len(self.users) + 1, name, ""))

    def issue_token(self, user: User) -> str:
        token = secrets.token_urlsafe()
        self.tokens[token] = user
        return token

    # Reads.

    def shelf(self) -> ProductList:
        """Return the products that a list tells."""
        return self.shelf_of(self.taken, self.stock)

    def shelf_of(self, as_of: int, stock: Mapping[str, int]) -> ProductList:
        found = (Product(name, self.price(name), left) for name, left in stock.items())
        return ProductList(as_of, tuple(found))

    def price(self, name: str) -> int:
        return self.prices.get(name, PRICE)

    def earlier(self, behind: int = BEHIND) -> ProductList:
        """Return the products as they were so many orders ago, or before the first."""
        stock = dict(self.stock)
        since = self.ledger[-behind:]
        for receipt in since:
            for item in receipt.items:
                stock[item.product_name] += item.quantity
        return self.shelf_of(self.taken - len(since), stock)

    def list_orders(self, user: User, wanted: OrdersWanted) -> bytes:
        below = sys.maxsize if wanted.before is UNSET else wanted.before
        limit = sys.maxsize if wanted.limit is UNSET else wanted.limit
        as_of, found = self.history(user, below, limit)
        writer = ListWriter(Code.ORDERS_LIST, "orders", as_of)
        entries = [messages.encode_order_entry(receipt) for receipt in found]
        return b"".join([*writer.add(entries), writer.end()])

    def history(self, user: User, below: int, limit: int) -> tuple[int, list[Receipt]]:
        """Return the `asOf` and the orders that a list tells, newest first."""
        own = self.lists[user.name]
        end = bisect_left(own, below, key=position_of)
        return self.taken, own[max(0, end - limit) : end][::-1]

    # Orders.

    def place(self, order: Order) -> Outcome:
        first = self.first(order)
        return self.decide(order) if first is None else self.retry(order, first)

    def first(self, order: Order) -> Receipt | None:
        """Return what the order's key was used for."""
        return None if order.key is None else self.keyed.get((order.user.name, order.key))

    def retry(self, order: Order, first: Receipt) -> Outcome:
        """Answer an order whose key was used before."""
        if quantities(order.items) == quantities(first.items):
            return Accepted(first, self.taken, replayed=True)
        return OrderKeyReused(str(order.key))

    def decide(self, order: Order) -> Outcome:
        """Answer an order that is new."""
        return self.refusal(order) or self.accept(order)

    def refusal(self, order: Order) -> ProductNotFound | InsufficientStock | None:
        """Return why the order cannot be had, if so."""
        wanted = quantities(order.items)
        for name in wanted:
            if name not in self.stock:
                return ProductNotFound(name, self.taken)
        for name, quantity in wanted.items():
            if quantity > self.stock[name]:
                return InsufficientStock(name, quantity, self.stock[name], self.taken)
        return None

    def accept(self, order: Order) -> Outcome:
        """Sell the order, which was checked."""
        position = self.nextposition_of()
        receipt = self.write(position, order, self.take(quantities(order.items)))
        self.book(receipt)
        return Accepted(receipt, position)

    def nextposition_of(self) -> int:
        self.taken += 1
        return self.taken

    def take(self, wanted: Mapping[str, int]) -> dict[str, int]:
        """Take what is wanted out of the stock; return what is told to be left of it."""
        left = {name: self.stock[name] - quantity for name, quantity in wanted.items()}
        self.stock.update(left)
        return left

    def put_back(self, name: str, quantity: int) -> None:
        self.stock[name] += quantity

    def write(self, position: int, order: Order, left: Mapping[str, int]) -> Receipt:
        """Write the receipt, as it is told, listed and repeated."""
        items = (
            SoldItem(i.product_name, i.quantity, self.price(i.product_name), left[i.product_name])
            for i in order.items
        )
        now_ms = time.time_ns() // 1_000_000
        return Receipt(position, now_ms, order.user, tuple(items), order.key)

    def book(self, receipt: Receipt) -> None:
        self.enlist(receipt)
        self.ledger.append(receipt)
        if receipt.key is not None:
            self.keyed[receipt.user.name, receipt.key] = receipt

    def enlist(self, receipt: Receipt) -> None:
        """Put the receipt where its owner's lists come from."""
        insort(self.lists[receipt.user.name], receipt, key=position_of)

    def tell(self, outcome: Outcome) -> bytes:
        if isinstance(outcome, Accepted):  # the encoder that takes the total from the receipt
            return messages._encode_basket(outcome)
        return messages.encode_refusal(outcome)


def position_of(receipt: Receipt) -> int:
    return receipt.position


# The wire.


class _Conversation(socketserver.BaseRequestHandler):
    """One connection: lines in, an answer out for each request."""

    def handle(self) -> None:
        self.session = Session()
        self.held: Order | None = None
        self.connection: socket.socket = self.request
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.shop.lock:
            self.shop.connections.add(self.connection)
        try:
            self._converse()
        except OSError:
            pass  # the client hung up in the middle of a word, or the shop crashed
        finally:
            with self.shop.lock:
                self.shop.connections.discard(self.connection)
                if self.session.user is not None and self.session._items:
                    self.shop.break_off(self.session.user, self.session._items, self.session._key)

    @property
    def shop(self) -> Shop:
        assert isinstance(self.server, _Server)
        return self.server.shop

    def _converse(self) -> None:
        framer = Framer()
        while received := self.connection.recv(FRAME_BYTES_MAX):
            with self.shop.lock:
                self.shop.hear()
            lines = framer.feed(received)
            for left, line in enumerate(lines, 1 - len(lines)):
                if not self._take(line, is_last=left == 0):
                    return self._linger()
            if framer.too_long:
                message = f"a frame has at most {FRAME_BYTES_MAX} bytes, with its LF"
                self.connection.sendall(messages.encode_error(Reason.FRAME_TOO_LONG, message))
                return self._linger()
        return None

    def _take(self, line: bytes, is_last: bool) -> bool:
        """Answer a line; tell whether the connection goes on."""
        step = self.session.receive(line)
        if isinstance(step, Credentials):
            step = self._login(step)
        if isinstance(step, Refused):
            answer = messages.encode_error(step.reason, step.message, step.facts)
            self.connection.sendall(answer)
            return not step.closes
        if step is not None:
            self._answer(step, is_last)
        return True

    def _answer(self, step: ProductsWanted | OrdersWanted | Order, is_last: bool) -> None:
        assert self.session.user is not None
        held, self.held = self.held, None
        is_order = isinstance(step, Order)
        if isinstance(step, Order) and held is None and not is_last and self.shop.hold_back():
            self.held = step
            return
        later = self.shop.answer(self.session.user, step) if is_order else b""
        if held is not None:
            self.connection.sendall(self.shop.answer(self.session.user, held))
        self.connection.sendall(later or self.shop.answer(self.session.user, step))

    def _login(self, given: Credentials) -> Refused | None:
        user = self.shop.login(given)
        if user is None:
            return self.session.refuse_login()
        self.session.welcome(user)
        welcome = messages.encode_welcome(user.name, self.shop.issue_token(user))
        self.connection.sendall(welcome)
        return None

    def _linger(self) -> None:
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(LINGER_S)
        while self.connection.recv(FRAME_BYTES_MAX):
            pass


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, shop: Shop) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.shop = shop


def shut_down(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def opened(shop: Shop) -> Iterator[str]:
    """Open a shop, yield its host:port, close it."""
    with _Server(shop) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
            with shop.lock:
                for connection in shop.connections:
                    shut_down(connection)
