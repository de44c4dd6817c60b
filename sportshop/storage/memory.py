"""The memory store: for tests, and for a shop that may forget everything.

The only store that is not durable. It shows the others what the interface asks, and nothing more.
"""

import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping

from sportshop import tokens
from sportshop.catalogue import Catalogue
from sportshop.names import OtherForms, same_form
from sportshop.orders import Decisions, KeyOfUser, Receipt
from sportshop.products import Product, Shelf
from sportshop.users import NAME_CHARACTERS_MAX, NewUser, User, UserExists, parameters_of

PAGE_ORDERS = 100
PAGE_ITEMS = 1_000  # some 300 KB: a page of large baskets has fewer orders


def pages(receipts: Iterable[Receipt]) -> Iterator[list[Receipt]]:
    """Yield receipts in pages, which are bounded in orders and in items."""
    page: list[Receipt] = []
    items = 0
    for receipt in receipts:
        page.append(receipt)
        items += len(receipt.items)
        if len(page) == PAGE_ORDERS or items >= PAGE_ITEMS:
            yield page
            page, items = [], 0
    if page:
        yield page


class MemoryUsers:
    """Users in a dictionary, in the order in which they came."""

    def __init__(self) -> None:
        self._by_name: dict[str, User] = {}
        self._other_forms = OtherForms(NAME_CHARACTERS_MAX)
        self._parameters: frozenset[str] = frozenset()

    def find(self, name: str) -> User | None:
        """Return the user whose name is written just so."""
        return self._by_name.get(name)

    def find_same(self, name: str) -> User | None:
        """Return the user of that name, in this form or else in another."""
        found = self._by_name.get(name)
        if found is None:
            others = map(self._by_name.get, self._other_forms.candidates(name))
            found = next((user for user in others if user is not None), None)
        return found

    def parameters(self) -> frozenset[str]:
        """Return each text of Argon2 parameters that a hash has."""
        return self._parameters

    def add(self, users: Iterable[NewUser]) -> int:
        """Add all of them, or none. Raises UserExists."""
        added = self.check_new(users)
        self.load(added)
        return len(added)

    def check_new(self, users: Iterable[NewUser]) -> list[NewUser]:
        """Return them all if each can be added. Raises UserExists."""
        added, forms = list(users), set[str]()
        for user in added:
            form = same_form(user.name, NAME_CHARACTERS_MAX) or user.name
            if form in forms or self.find_same(user.name):
                raise UserExists(user.name)
            forms.add(form)
        return added

    def load(self, users: Iterable[NewUser]) -> None:
        """Take users that were in the store before, whose names may be the same but for the form.

        Raises UserExists for one that is written just like another.
        """
        parameters = set(self._parameters)
        for user in users:
            if user.name in self._by_name:
                raise UserExists(user.name)
            self._by_name[user.name] = User(len(self._by_name), user.name, user.password_hash)
            self._other_forms.add([user.name])
            parameters.add(parameters_of(user.password_hash))
        self._parameters = frozenset(parameters)

    def __iter__(self) -> Iterator[User]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)


class MemoryOrders:
    """The ledger as a list, and each user's and each key's part of it."""

    def __init__(self) -> None:
        self._ledger: list[Receipt] = []
        self._of_user: dict[int, list[Receipt]] = {}
        self._of_key: dict[KeyOfUser, Receipt] = {}

    def count(self) -> int:
        """Return how many positions are taken."""
        return len(self._ledger)

    def newest_at_ms(self) -> int:
        """Return when the newest order was placed."""
        return self._ledger[-1].placed_at_ms if self._ledger else 0

    def history(
        self, user: User, before: int | None = None, limit: int | None = None
    ) -> Iterator[list[Receipt]]:
        """Yield the user's orders in pages, newest first."""
        own = self._of_user.get(user.id, ())
        wanted = [r for r in reversed(own) if before is None or r.position < before][:limit]
        yield from pages(wanted)

    def receipt_of(self, user: User, key: str) -> Receipt | None:
        """Return the receipt of a user's order key."""
        return self._of_key.get((user.id, key))

    def append(self, receipts: Iterable[Receipt]) -> None:
        """Take receipts into the ledger."""
        for receipt in receipts:
            self._ledger.append(receipt)
            self._of_user.setdefault(receipt.user.id, []).append(receipt)
            if receipt.key is not None:
                self._of_key[receipt.user.id, receipt.key] = receipt


class MemoryTransaction:
    """A batch that is gathered, then published."""

    def __init__(self, shelf: Shelf, orders: MemoryOrders) -> None:
        self.taken = orders.count()
        self._shelf = shelf
        self._orders = orders
        self._decisions = Decisions([], [], {})

    def products(self, names: Collection[str]) -> Mapping[str, Product]:
        """Return the products of these names that exist."""
        return self._shelf.find_all(names)

    def receipts(self, keys: Collection[tuple[User, str]]) -> dict[KeyOfUser, Receipt]:
        """Return the receipts of the users' order keys that are in the ledger."""
        found = {(user.id, key): self._orders.receipt_of(user, key) for user, key in keys}
        return {key: receipt for key, receipt in found.items() if receipt is not None}

    def write(self, decisions: Decisions) -> None:
        """Remember what to publish."""
        self._decisions = decisions

    def commit(self) -> None:
        """Do nothing: memory is as durable as it gets."""

    def publish(self) -> None:
        """Append to the ledger and show the stock."""
        self._orders.append(self._decisions.receipts)
        self._shelf.publish(self._orders.count(), self._decisions.stock)

    def rollback(self) -> None:
        """Forget the batch."""


class MemoryStore:
    """A shop in memory."""

    name = "memory:"

    def __init__(self, catalogue: Catalogue) -> None:
        self.users = MemoryUsers()
        self.users.load(catalogue.users)
        self.products = Shelf(catalogue.products, 0)
        self.orders = MemoryOrders()
        self.token_key = secrets.token_bytes(tokens.KEY_BYTES)

    @property
    def contents(self) -> Mapping[str, int]:
        """Count what there is."""
        return {
            "orders": self.orders.count(),
            "products": len(self.products.snapshot().products),
            "users": len(self.users),
            "set_aside_bytes": 0,
        }

    def check_is_there(self) -> None:
        """Do nothing: memory can't be taken away."""

    def begin(self) -> MemoryTransaction:
        """Start a batch."""
        return MemoryTransaction(self.products, self.orders)

    def close(self) -> None:
        """Do nothing: what is in memory is gone with it."""
