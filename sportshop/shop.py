"""The shop: what all connections share. One object, made at the start, given to each."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sportshop import messages
from sportshop.inventory import Inventory
from sportshop.logins import Logins
from sportshop.messages import PAUSE, Reason
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


class Unread:
    """Counts the answers that wait for their clients to read them, over all connections."""

    def __init__(self) -> None:
        self.bytes = 0


class ProductPages:
    """The product lists as bytes, encoded once a change and not once a request."""

    def __init__(self) -> None:
        self._snapshot: ProductList | None = None
        self._pages: dict[bool, Sequence[bytes]] = {}

    def pages(self, snapshot: ProductList, sold_out: bool) -> Iterable[bytes]:
        """Return the messages of an answer to GET_PRODUCTS, with a PAUSE where it takes long."""
        if snapshot is not self._snapshot:
            self._snapshot, self._pages = snapshot, {}
        return self._pages.get(sold_out) or self._encode(snapshot, sold_out)

    def _encode(self, snapshot: ProductList, sold_out: bool) -> Iterator[bytes]:
        pages = []
        for message in messages.encode_products(snapshot, sold_out):
            if message is not PAUSE:
                pages.append(message)
            yield message
        if snapshot is self._snapshot:
            self._pages[sold_out] = pages


ENTRIES_BYTES_MAX = 16 * 1024 * 1024
ENTRY_OVERHEAD_BYTES = 200  # of a dictionary's slot, a number and a bytes object


class OrderEntries:
    """Orders of lists as bytes: an order never changes, so what was listed lately is kept."""

    def __init__(self) -> None:
        self._entries: dict[int, bytes] = {}
        self._bytes = 0

    def entries(self, receipts: Iterable[Receipt]) -> list[bytes]:
        """Return the entries of some orders."""
        return [self._entries.get(receipt.position) or self._add(receipt) for receipt in receipts]

    def _add(self, receipt: Receipt) -> bytes:
        entry = messages.encode_order_entry(receipt)
        self._bytes += len(entry) + ENTRY_OVERHEAD_BYTES
        if self._bytes > ENTRIES_BYTES_MAX:
            self._entries.clear()  # dropping the oldest alone would have to look for it
            self._bytes = len(entry) + ENTRY_OVERHEAD_BYTES
        self._entries[receipt.position] = entry
        return entry


@dataclass
class Tally:
    """What happened to connections since the start, for the log."""

    connections: int = 0
    connections_refused: int = 0
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
    unread: Unread = field(default_factory=Unread)
    product_pages: ProductPages = field(default_factory=ProductPages)
    order_entries: OrderEntries = field(default_factory=OrderEntries)
    tally: Tally = field(default_factory=Tally)
