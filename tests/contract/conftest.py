"""One suite, every store: `opened` is a store that a test can use, close and open again."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from sportshop.catalogue import Catalogue
from sportshop.orders import Item, Order, Outcome, Receipt, by_own_names, decide
from sportshop.storage import open_store
from sportshop.storage.interface import Store
from sportshop.users import User
from tests.catalogues import SMALL

KINDS = ("memory", "csv", "sqlite")
NOW_MS = 1_700_000_000_123


class Opened:
    """A store and what the tests do to it."""

    def __init__(self, url: str, catalogue: Catalogue = SMALL) -> None:
        self.url = url
        self.store: Store = open_store(url, lambda: catalogue)

    def reopen(self) -> None:
        """Close it and open it again, if it keeps anything."""
        if self.url == "memory:":
            return
        self.store.close()
        self.open()

    def open(self) -> None:
        """Open it again after a test has closed it."""
        self.store = open_store(self.url, _needs_no_catalogue)

    def user(self, name: str = "user1") -> User:
        user = self.store.users.find(name)
        assert user is not None
        return user

    def order(self, *items: tuple[str, int], user: str = "user1", key: str | None = None) -> Order:
        return Order(self.user(user), tuple(Item(*item) for item in items), key)

    def commit(self, *orders: Order) -> list[Outcome]:
        """Commit a batch, as the inventory does."""
        return commit(self.store, orders)

    def stock(self) -> dict[str, int]:
        return {p.name: p.stock for p in self.store.products.snapshot().products}

    def history(
        self, user: str = "user1", before: int | None = None, limit: int | None = None
    ) -> list[Receipt]:
        pages = self.store.orders.history(self.user(user), before, limit)
        return [receipt for page in pages for receipt in page]


def commit(store: Store, orders: Sequence[Order]) -> list[Outcome]:
    transaction = store.begin()
    try:
        names = {item.product_name for order in orders for item in order.items}
        keys = [(order.user, order.key) for order in orders if order.key is not None]
        orders, products = by_own_names(orders, transaction.products(names), lambda _: True)
        decisions = decide(
            orders,
            products,
            transaction.receipts(keys),
            transaction.taken,
            NOW_MS,
        )
        if decisions.receipts:
            transaction.write(decisions)
            transaction.commit()
            transaction.publish()
    finally:
        transaction.rollback()
    return decisions.outcomes


def _needs_no_catalogue() -> Catalogue:
    raise AssertionError("a store that is filled asked for the catalogue")


def url_of(kind: str, folder: Path) -> str:
    return {"memory": "memory:", "csv": f"csv:{folder}/shop", "sqlite": f"sqlite:{folder}/shop.db"}[
        kind
    ]


@pytest.fixture(params=KINDS)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    opened = Opened(url_of(request.param, tmp_path))
    yield opened
    opened.store.close()


@pytest.fixture(params=["csv", "sqlite"])
def durable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """A store that outlives its process."""
    opened = Opened(url_of(request.param, tmp_path))
    yield opened
    opened.store.close()
