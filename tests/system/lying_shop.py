"""A small shop in memory that speaks the protocol and lies in one chosen way.

Whoever audits it has to find it out from its answers alone. `Shop` is honest and keeps to
PROTOCOL.md; every lie is a subclass of it that overrides the step where the lie is told. It is one
thread a connection, one lock for all decisions, and nothing on disk.
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
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum

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
EVERY_LIST = 10  # the same for lists of orders, of which there are fewer
EVERY_BASKET = 5  # the same for what takes several items in one order
EVERY_RETRY = 2  # the same for order keys used again, which only a client in need does
BEHIND = 25  # orders between now and the moment that an old answer tells of
FORGOTTEN = 10  # orders lost in a crash: more than have their answers under way
SCARCE = 10  # units left where a race for the last one has begun
GAP_S = 0.05  # between a check and its sale: others check meanwhile, also on a busy machine
KEYS_KEPT = 200  # orders after which a key is forgotten
KEYS_KEPT_S = 0.1  # seconds, likewise
LINGER_S = 1.0  # after an error that closes: closing at once could reset it off the wire


class Lie(StrEnum):
    """What the shop does wrong, and what a client could see of it."""

    NONE = "none"
    # Stock.
    OVERSELL = "oversell"  # SUCCESS for more than is left; 0 are left after it
    OVERSELL_AFTER_YIELD = "oversell after yield"  # two at once get the last unit; both leave 0
    NEGATIVE_STOCK = "negative stock"  # SUCCESS for more than is left; -1 are left after it
    KEEP_STOCK = "keep stock"  # the next receipt shows the same stock once more
    LOST_UPDATE = "lost update"  # the same, two orders having read the same stock
    FALSE_SOLD_OUT = "false sold out"  # INSUFFICIENT_STOCK, 1 requested, 40 available
    WRONG_AVAILABLE = "wrong available"  # INSUFFICIENT_STOCK rightly, but `available` is off by 1
    FALSE_NOT_FOUND = "false not found"  # PRODUCT_NOT_FOUND for a product of the list
    # Orders of several items.
    ITEMS_CHECKED_APART = "items checked apart"  # SUCCESS for 1 and 1 of a product with 1 left
    ITEMS_STOCK_APART = "items stock apart"  # two items of a product show different stocks
    HALF_AN_ORDER = "half an order"  # the second product's stock is as before in the next list
    PARTIAL_REFUSAL = "partial refusal"  # after a refusal there is less of its first product
    HALF_SENT = "half sent"  # items without a last one are an order when their sender hangs up
    SELL_UNKNOWN = "sell unknown"  # SUCCESS for a product that no list has
    UNKNOWN_SOLD_OUT = "unknown sold out"  # INSUFFICIENT_STOCK for one
    # Reads.
    STALE_READ = "stale read"  # a list of products shows what was sold as unsold, as of now
    OLD_READ = "old read"  # a list of products is as of before orders acknowledged already
    MIXED_SNAPSHOT = "mixed snapshot"  # a list shows one product as it was, the others as they are
    OLD_ORDERS = "old orders"  # a list of orders is as of before orders acknowledged already
    FOREIGN_ORDER = "foreign order"  # another user's order is in one list, and not in the next
    FOREIGN_ORDER_IN_FINAL = "foreign order in final"  # it is in every list from then on
    DUPLICATE_IN_LIST = "duplicate in list"  # the newest order stands twice in one list
    LOSE_ORDERS = "lose orders"  # acknowledged, but in no list
    LOSE_ORDER_LATER = "lose order later"  # in one list, but in no later one
    CHANGED_RECEIPT = "changed receipt"  # a list tells one unit more than the receipt did
    # One connection.
    READ_AHEAD = "read ahead"  # a list asked for behind an order is as of before it
    TURNED_AROUND = "turned around"  # of two orders sent at once the second is decided first
    # Positions.
    GIVE_POSITIONS_TWICE = "give positions twice"  # two receipts bear one `order`
    GAP = "gap"  # no receipt and no list bears some `order`
    AGAINST_REAL_TIME = "against real time"  # `order` is below one acknowledged long before
    ANSWER_BEFORE_COMMIT = "answer before commit"  # all are cut off; the newest orders are gone
    # Money.
    WRONG_TOTAL = "wrong total"  # `total` is a cent above the sum, in receipt and list
    WRONG_PRICE = "wrong price"  # a receipt's price is 1.00 above the list's
    # Order keys.
    DOUBLE_RETRY = "double retry"  # a retry is SUCCESS, not replayed, with another `order`
    KEY_CONFLICT = "key conflict"  # a retry is ORDER_KEY_REUSED
    REUSE_ACCEPTED = "reuse accepted"  # the key with other items is the first order, replayed
    FORGET_KEYS = "forget keys"  # a retry is sold again when there were KEYS_KEPT orders meanwhile
    FORGET_KEYS_IN_TIME = "forget keys in time"  # the same when KEYS_KEPT_S have gone by
    SHARED_KEYS = "shared keys"  # another user's key is taken for one of one's own
    ONLY_UNITS_COMPARED = "only units compared"  # so many of another product are taken for a retry
    LINES_COMPARED = "lines compared"  # a retry in other lines is ORDER_KEY_REUSED
    REFUSED_BUT_SOLD = "refused but sold"  # INSUFFICIENT_STOCK, but the order is in the list


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
                return self.tell(self.place(step))
            if isinstance(step, ProductsWanted):
                return b"".join(messages.encode_products(self.shelf(), step.sold_out))
            return self.list_orders(user, step)

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
        end = bisect_left(own, below, key=_position)
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
        position = self.next_position()
        receipt = self.write(position, order, self.take(quantities(order.items)))
        self.book(receipt)
        return Accepted(receipt, position)

    def next_position(self) -> int:
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
        insort(self.lists[receipt.user.name], receipt, key=_position)

    def tell(self, outcome: Outcome) -> bytes:
        if isinstance(outcome, Accepted):  # the encoder that takes the total from the receipt
            return messages._encode_basket(outcome)
        return messages.encode_refusal(outcome)


def _position(receipt: Receipt) -> int:
    return receipt.position


# The lies.

_LIARS: dict[Lie, type[Shop]] = {Lie.NONE: Shop}


def tells(lie: Lie) -> Callable[[type[Shop]], type[Shop]]:
    """Return a decorator for the shop that tells the lie."""

    def note(shop: type[Shop]) -> type[Shop]:
        _LIARS[lie] = shop
        return shop

    return note


class _NeverBelowZero(Shop):
    """Hides that more was sold than there was."""

    def take(self, wanted):
        left = {name: max(0, after) for name, after in super().take(wanted).items()}
        self.stock.update(left)
        return left


class _SellsShort(Shop):
    def refusal(self, order):
        found = super().refusal(order)
        return None if isinstance(found, InsufficientStock) and self.its_turn() else found


_LIARS[Lie.NEGATIVE_STOCK] = _SellsShort


@tells(Lie.OVERSELL)
class _Oversells(_SellsShort, _NeverBelowZero):
    pass


@tells(Lie.OVERSELL_AFTER_YIELD)
class _Yields(_NeverBelowZero):
    """Lets others in between the check and the sale, where it is about the last units."""

    every = 1

    def accept(self, order):
        if any(self.stock[item.product_name] < SCARCE for item in order.items) and self.its_turn():
            self.lock.release()
            time.sleep(GAP_S)
            self.lock.acquire()
        first = self.first(order)  # who was cut off meanwhile may have asked again
        return super().accept(order) if first is None else self.retry(order, first)


@tells(Lie.KEEP_STOCK)
class _KeepsStock(Shop):
    def take(self, wanted):
        left = super().take(wanted)
        if self.its_turn():
            for name in wanted:
                self.put_back(name, wanted[name])
        return left


@tells(Lie.LOST_UPDATE)
class _LosesUpdates(Shop):
    """Takes from the stock that the order before took from, as if it had not yet been written."""

    def take(self, wanted):
        before = quantities(self.ledger[-1].items) if self.ledger else {}
        both = wanted.keys() & before.keys()
        if both and self.its_turn():
            for name in both:
                self.put_back(name, before[name])
        return super().take(wanted)


@tells(Lie.FALSE_SOLD_OUT)
class _RefusesSales(Shop):
    def refusal(self, order):
        found = super().refusal(order)
        if found is None and self.its_turn():
            name, quantity = next(iter(quantities(order.items).items()))
            return InsufficientStock(name, quantity, self.stock[name], self.taken)
        return found


@tells(Lie.WRONG_AVAILABLE)
class _Miscounts(Shop):
    def refusal(self, order):
        found = super().refusal(order)
        if isinstance(found, InsufficientStock) and self.its_turn():
            return replace(found, available=found.available - 1 if found.available else 1)
        return found


@tells(Lie.FALSE_NOT_FOUND)
class _Denies(Shop):
    def refusal(self, order):
        found = super().refusal(order)
        if found is None and self.its_turn():
            return ProductNotFound(order.items[0].product_name, self.taken)
        return found


@tells(Lie.ITEMS_CHECKED_APART)
class _ChecksApart(_NeverBelowZero):
    every = 1  # it takes a basket that finds just too little

    def refusal(self, order):
        found = super().refusal(order)
        if not isinstance(found, InsufficientStock):
            return found
        fits = all(item.quantity <= self.stock[item.product_name] for item in order.items)
        return None if fits and self.its_turn() else found


@tells(Lie.ITEMS_STOCK_APART)
class _CountsDown(Shop):
    every = EVERY_BASKET

    def write(self, position, order, left):
        receipt = super().write(position, order, left)
        rest = quantities(order.items)
        if len(rest) == len(order.items) or not self.its_turn():
            return receipt
        items = []
        for item in receipt.items:
            rest[item.product_name] -= item.quantity
            items.append(replace(item, stock=item.stock + rest[item.product_name]))
        return replace(receipt, items=tuple(items))


@tells(Lie.HALF_AN_ORDER)
class _TakesHalf(Shop):
    every = EVERY_BASKET

    def take(self, wanted):
        left = super().take(wanted)
        _, *others = wanted
        if others and self.its_turn():
            for name in others:
                self.put_back(name, wanted[name])
        return left


@tells(Lie.PARTIAL_REFUSAL)
class _TakesBeforeItRefuses(Shop):
    every = EVERY_RETRY  # it takes a basket whose second product is short

    def refusal(self, order):
        found = super().refusal(order)
        name, quantity = next(iter(quantities(order.items).items()))
        is_later = isinstance(found, InsufficientStock) and found.product_name != name
        if is_later and self.its_turn():
            self.take({name: quantity})
        return found


@tells(Lie.STALE_READ)
class _ReadsStale(Shop):
    def shelf(self):
        if self.ledger and self.its_turn():
            return replace(self.earlier(), as_of=self.taken)
        return super().shelf()


@tells(Lie.OLD_READ)
class _ReadsOld(Shop):
    def shelf(self):
        return self.earlier() if self.ledger and self.its_turn() else super().shelf()


@tells(Lie.MIXED_SNAPSHOT)
class _MixesMoments(Shop):
    """Shows what was sold last as it was, and what else was sold since as it is."""

    def shelf(self):
        now = super().shelf()
        sold = [item.product_name for one in self.ledger[-BEHIND:] for item in one.items]
        if len(set(sold)) < 2 or not self.its_turn():
            return now
        pairs = zip(now.products, self.earlier().products, strict=True)
        return replace(
            now, products=tuple(old if old.name == sold[-1] else new for new, old in pairs)
        )


@tells(Lie.OLD_ORDERS)
class _ListsOld(Shop):
    every = EVERY_LIST

    def history(self, user, below, limit):
        if not (self.ledger and self.its_turn()):
            return super().history(user, below, limit)
        as_of = max(0, self.taken - BEHIND)
        return as_of, super().history(user, min(below, as_of + 1), limit)[1]


@tells(Lie.FOREIGN_ORDER)
class _ListsOthers(Shop):
    every = EVERY_LIST

    def history(self, user, below, limit):
        as_of, found = super().history(user, below, limit)
        others = [own[-1] for name, own in self.lists.items() if own and name != user.name]
        newest = sorted((one for one in others if one.position < below), key=_position)[-1:]
        mixed = sorted([*found, *newest], key=_position, reverse=True)[:limit]
        return as_of, mixed if mixed != found and self.its_turn() else found


@tells(Lie.FOREIGN_ORDER_IN_FINAL)
class _GivesToOthers(Shop):
    def enlist(self, receipt):
        super().enlist(receipt)
        others = [name for name in self.users if name != receipt.user.name]
        if others and self.its_turn():
            insort(self.lists[others[0]], receipt, key=_position)


@tells(Lie.DUPLICATE_IN_LIST)
class _Stutters(Shop):
    every = EVERY_LIST

    def history(self, user, below, limit):
        as_of, found = super().history(user, below, limit)
        if found and limit > 1 and self.its_turn():
            found = [found[0], *found][:limit]
        return as_of, found


@tells(Lie.LOSE_ORDERS)
class _LosesOrders(Shop):
    def enlist(self, receipt):
        if not self.its_turn():
            super().enlist(receipt)


@tells(Lie.LOSE_ORDER_LATER)
class _LosesOrdersLater(Shop):
    every = EVERY_LIST

    def history(self, user, below, limit):
        as_of, found = super().history(user, below, limit)
        if found and self.its_turn():
            self.lists[user.name].remove(found[0])
        return as_of, found


@tells(Lie.CHANGED_RECEIPT)
class _Rewrites(Shop):
    def enlist(self, receipt):
        if self.its_turn():
            item, *others = receipt.items
            changed = replace(item, quantity=item.quantity + 1)
            receipt = replace(receipt, items=(changed, *others))
        super().enlist(receipt)


@tells(Lie.GIVE_POSITIONS_TWICE)
class _RepeatsPositions(Shop):
    def next_position(self):
        return self.taken if self.taken and self.its_turn() else super().next_position()


@tells(Lie.GAP)
class _SkipsPositions(Shop):
    def next_position(self):
        if self.its_turn():
            super().next_position()
        return super().next_position()


@tells(Lie.AGAINST_REAL_TIME)
class _KeepsPositionsBack(Shop):
    """Writes an order of one unit for nobody, and gives it to who asks for the same much later.

    But for real time all is well: its unit was taken, and its stock told, in ledger order.
    """

    spare: Receipt | None = None

    def decide(self, order):
        spare = self.spare
        if spare is None:
            outcome = super().decide(order)
            self._keep_back(order)
            return outcome
        waits = self.taken - spare.position >= BEHIND
        if not waits or quantities(order.items) != quantities(spare.items):
            return super().decide(order)
        self.spare = None
        receipt = replace(spare, user=order.user, key=order.key)
        self.book(receipt)
        return Accepted(receipt, receipt.position)

    def _keep_back(self, order):
        is_one = len(order.items) == 1 and order.items[0].quantity == 1
        if is_one and self.refusal(order) is None and self.its_turn():
            left = self.take(quantities(order.items))
            self.spare = self.write(self.next_position(), order, left)


@tells(Lie.ANSWER_BEFORE_COMMIT)
class _Crashes(Shop):
    """Forgets orders that it had acknowledged, and goes on as if they had never been."""

    every = 150

    def accept(self, order):
        if len(self.ledger) >= FORGOTTEN and self.its_turn():
            self._crash()
            raise ConnectionAbortedError
        return super().accept(order)

    def _crash(self):
        for connection in self.connections:
            _shut_down(connection)
        for receipt in self.ledger[-FORGOTTEN:]:
            for item in receipt.items:
                self.put_back(item.product_name, item.quantity)
            self.lists[receipt.user.name].remove(receipt)
            self.keyed.pop((receipt.user.name, str(receipt.key)), None)
        del self.ledger[-FORGOTTEN:]
        self.taken -= FORGOTTEN


class _Overcharged(Receipt, frozen=True):
    @property
    def total(self) -> int:
        return sum(item.price * item.quantity for item in self.items) + 1


@tells(Lie.WRONG_TOTAL)
class _Overcharges(Shop):
    def write(self, position, order, left):
        one = super().write(position, order, left)
        if not self.its_turn():
            return one
        return _Overcharged(one.position, one.placed_at_ms, one.user, one.items, one.key)


@tells(Lie.WRONG_PRICE)
class _RaisesPrices(Shop):
    def write(self, position, order, left):
        receipt = super().write(position, order, left)
        if not self.its_turn():
            return receipt
        dearer = tuple(replace(item, price=item.price + 100) for item in receipt.items)
        return replace(receipt, items=dearer)


@tells(Lie.DOUBLE_RETRY)
class _SellsAgain(Shop):
    every = EVERY_RETRY

    def retry(self, order, first):
        outcome = super().retry(order, first)
        if isinstance(outcome, Accepted) and self.refusal(order) is None and self.its_turn():
            return self.accept(order)
        return outcome


@tells(Lie.KEY_CONFLICT)
class _DeniesRetries(Shop):
    every = EVERY_RETRY

    def retry(self, order, first):
        outcome = super().retry(order, first)
        if isinstance(outcome, Accepted) and self.its_turn():
            return OrderKeyReused(str(order.key))
        return outcome


@tells(Lie.REUSE_ACCEPTED)
class _AcceptsReuse(Shop):
    every = EVERY_RETRY

    def retry(self, order, first):
        outcome = super().retry(order, first)
        if isinstance(outcome, OrderKeyReused) and self.its_turn():
            return Accepted(first, self.taken, replayed=True)
        return outcome


@tells(Lie.FORGET_KEYS)
class _ForgetsKeys(Shop):
    def book(self, receipt):
        super().book(receipt)
        if len(self.keyed) > KEYS_KEPT:
            del self.keyed[next(iter(self.keyed))]


@tells(Lie.FORGET_KEYS_IN_TIME)
class _ForgetsKeysInTime(Shop):
    def first(self, order):
        found = super().first(order)
        if found is None or time.time_ns() / 1e9 - found.placed_at_ms / 1e3 < KEYS_KEPT_S:
            return found
        return None


@tells(Lie.SHARED_KEYS)
class _SharesKeys(Shop):
    def first(self, order):
        return next(
            (self.keyed[user, order.key] for user in self.users if (user, order.key) in self.keyed),
            None,
        )


@tells(Lie.ONLY_UNITS_COMPARED)
class _CountsUnits(Shop):
    every = EVERY_RETRY

    def retry(self, order, first):
        outcome = super().retry(order, first)
        alike = _units(order.items) == _units(first.items)
        if isinstance(outcome, OrderKeyReused) and alike and self.its_turn():
            return Accepted(first, self.taken, replayed=True)
        return outcome


def _units(items):
    return sum(item.quantity for item in items)


@tells(Lie.LINES_COMPARED)
class _ComparesLines(Shop):
    def retry(self, order, first):
        asked, sold = (
            [(item.product_name, item.quantity) for item in items]
            for items in (order.items, first.items)
        )
        return super().retry(order, first) if asked == sold else OrderKeyReused(str(order.key))


@tells(Lie.HALF_SENT)
class _PlacesHalves(Shop):
    every = EVERY_RETRY

    def break_off(self, user, items, key):
        if self.its_turn():
            self.place(Order(user, tuple(items), key))


@tells(Lie.SELL_UNKNOWN)
class _SellsAnything(Shop):
    every = EVERY_RETRY

    def decide(self, order):
        outcome = super().decide(order)
        if not (isinstance(outcome, ProductNotFound) and self.its_turn()):
            return outcome
        wanted = quantities(order.items)
        name = outcome.product_name
        self.stock[name] = wanted[name]
        outcome = super().decide(order)
        del self.stock[name]
        return outcome


@tells(Lie.UNKNOWN_SOLD_OUT)
class _KnowsEverything(Shop):
    every = EVERY_RETRY

    def refusal(self, order):
        found = super().refusal(order)
        if isinstance(found, ProductNotFound) and self.its_turn():
            name = found.product_name
            return InsufficientStock(name, quantities(order.items)[name], 0, self.taken)
        return found


@tells(Lie.READ_AHEAD)
class _ReadsAhead(Shop):
    """Answers what came behind an order as if it had come alone."""

    every = EVERY_RETRY

    def __init__(self, stock, prices):
        super().__init__(stock, prices)
        self.heard = threading.local()

    def hear(self):
        self.heard.at = self.taken

    def shelf(self):
        behind = self.taken - self.heard.at
        return self.earlier(behind) if behind and self.its_turn() else super().shelf()

    def history(self, user, below, limit):
        heard = self.heard.at
        if heard == self.taken or not self.its_turn():
            return super().history(user, below, limit)
        return heard, super().history(user, min(below, heard + 1), limit)[1]


@tells(Lie.TURNED_AROUND)
class _TurnsAround(Shop):
    every = EVERY_RETRY

    def hold_back(self):
        return self.its_turn()


@tells(Lie.REFUSED_BUT_SOLD)
class _SellsInSecret(Shop):
    def decide(self, order):
        outcome = super().decide(order)
        if isinstance(outcome, Accepted) and self.its_turn():
            name, quantity = next(iter(quantities(order.items).items()))
            return InsufficientStock(name, quantity, quantity - 1, outcome.as_of - 1)
        return outcome


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


def _shut_down(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def lying_shop(
    lie: Lie,
    stock: Mapping[str, int],
    prices: Mapping[str, int] | None = None,
    *,
    honest_orders: int = HONEST_ORDERS,
    every: int | None = None,
) -> Iterator[str]:
    """Open a shop, yield its host:port, close it.

    `prices` are in cents. After `honest_orders` it takes one opportunity to lie in `every`.
    """
    shop = _LIARS[lie](stock, prices or {})
    shop.honest_orders = honest_orders
    shop.every = every or shop.every
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
                    _shut_down(connection)
