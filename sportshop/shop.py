"""The shop: what all connections share. One object, made at the start, given to each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sportshop import messages
from sportshop.inventory import Inventory
from sportshop.logins import Logins
from sportshop.messages import Reason
from sportshop.orders import Receipt
from sportshop.products import ProductList
from sportshop.session import Refused
from sportshop.settings import Limits
from sportshop.storage.interface import Store

SHUTTING_DOWN = Refused(Reason.SHUTTING_DOWN, "the shop is closing", closes=True)


class CoarseTime:
    """The time as of the last tick: deadlines of seconds need no clock call per message."""

    def __init__(self, now: float) -> None:
        self.now = now


class ProductPages:
    """The product lists as bytes, encoded once a change and not once a request."""

    def __init__(self) -> None:
        self._snapshot: ProductList | None = None
        self._pages: dict[bool, Sequence[bytes]] = {}

    def pages(self, snapshot: ProductList, sold_out: bool) -> Sequence[bytes]:
        """Return the messages of an answer to GET_PRODUCTS."""
        if snapshot is not self._snapshot:
            self._snapshot, self._pages = snapshot, {}
        if sold_out not in self._pages:
            self._pages[sold_out] = messages.encode_products(snapshot, sold_out)
        return self._pages[sold_out]


ENTRIES_MAX = 20_000  # some 5 MB


class OrderEntries:
    """Orders of lists as bytes: an order never changes, so what was listed lately is kept."""

    def __init__(self) -> None:
        self._entries: dict[int, bytes] = {}

    def entries(self, receipts: Iterable[Receipt]) -> list[bytes]:
        """Return the entries of some orders."""
        return [self._entries.get(receipt.position) or self._add(receipt) for receipt in receipts]

    def _add(self, receipt: Receipt) -> bytes:
        if len(self._entries) >= ENTRIES_MAX:
            self._entries.clear()
        entry = self._entries[receipt.position] = messages.encode_order_entry(receipt)
        return entry


@dataclass
class Tally:
    """What happened to connections since the start, for the log."""

    accepted: int = 0
    refused: int = 0
    timed_out: int = 0
    cut_off: int = 0


@dataclass
class Shop:
    """What a connection needs besides its socket."""

    store: Store
    logins: Logins
    limits: Limits
    time: CoarseTime
    inventory: Inventory
    draining: bool = False
    product_pages: ProductPages = field(default_factory=ProductPages)
    order_entries: OrderEntries = field(default_factory=OrderEntries)
    tally: Tally = field(default_factory=Tally)
