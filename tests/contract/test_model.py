"""A stateful model of the shop's books, played against every store.

The model is two dictionaries and a list. Whatever sequence of batches, retries and restarts
Hypothesis comes up with, the store must answer as the model does.
"""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from sportshop.catalogue import Catalogue
from sportshop.orders import Accepted, Outcome, Receipt
from sportshop.products import Product
from tests.catalogues import SMALL
from tests.contract.conftest import KINDS, Opened, url_of

OPENING = {"Ball": 4, "Boots": 7, "Puck": 30}
CATALOGUE = Catalogue([Product(name, 1_00, n) for name, n in OPENING.items()], SMALL.users)

items = st.lists(
    st.tuples(st.sampled_from(["Ball", "Boots", "Puck", "Nothing"]), st.integers(1, 5)),
    min_size=1,
    max_size=4,
)
orders = st.tuples(
    items, st.sampled_from(["user1", "user2"]), st.sampled_from([None, None, "k1", "k2", "k3"])
)


class Books:
    """The model: what a shop knows, one order at a time."""

    def __init__(self) -> None:
        self.stock = dict(OPENING)
        self.ledger: list[tuple[str, tuple[tuple[str, int], ...]]] = []
        self.keys: dict[tuple[str, str], tuple[int, dict[str, int]]] = {}

    def expect(self, wanted: list[tuple[str, int]], user: str, key: str | None) -> str:
        total: dict[str, int] = {}
        for name, quantity in wanted:
            total[name] = total.get(name, 0) + quantity
        if key is not None and (user, key) in self.keys:
            position, sold = self.keys[user, key]
            return f"replay {position}" if sold == total else "reused"
        if any(name not in self.stock for name in total):
            return "not found"
        short = [name for name, n in total.items() if n > self.stock[name]]
        if short:
            return f"short {short[0]} {total[short[0]]} {self.stock[short[0]]}"
        for name, n in total.items():
            self.stock[name] -= n
        self.ledger.append((user, tuple(wanted)))
        if key is not None:
            self.keys[user, key] = (len(self.ledger), total)
        return f"sold {len(self.ledger)}"


def told(outcome: Outcome) -> str:
    match outcome:
        case Accepted(receipt, _, replayed):
            return f"{'replay' if replayed else 'sold'} {receipt.position}"
        case _:
            names = {"ProductNotFound": "not found", "OrderKeyReused": "reused"}
            if type(outcome).__name__ in names:
                return names[type(outcome).__name__]
            return f"short {outcome.product_name} {outcome.requested} {outcome.available}"


class ShopMachine(RuleBasedStateMachine):
    """Plays both."""

    kind = ""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.opened = Opened(url_of(self.kind, Path(self.folder.name)), CATALOGUE)
        self.books = Books()

    @rule(batch=st.lists(orders, min_size=1, max_size=5))
    def commit(self, batch: list[tuple[list[tuple[str, int]], str, str | None]]) -> None:
        expected = [self.books.expect(*order) for order in batch]
        outcomes = self.opened.commit(
            *(self.opened.order(*wanted, user=user, key=key) for wanted, user, key in batch)
        )
        assert [told(outcome) for outcome in outcomes] == expected

    @rule()
    def restart(self) -> None:
        self.opened.reopen()

    @rule(before=st.integers(1, 30), limit=st.integers(1, 5))
    def look_at_some_orders(self, before: int, limit: int) -> None:
        found = self.opened.history("user1", before, limit)
        own = [i for i, (user, _) in enumerate(self.books.ledger, 1) if user == "user1"]
        assert [r.position for r in found] == [i for i in reversed(own) if i < before][:limit]

    @invariant()
    def the_stock_is_the_same(self) -> None:
        assert self.opened.stock() == self.books.stock
        assert min(self.opened.stock().values()) >= 0

    @invariant()
    def the_orders_are_the_same(self) -> None:
        for user in ("user1", "user2"):
            own = [(i, o) for i, (u, o) in enumerate(self.books.ledger, 1) if u == user]
            assert [_plain(r) for r in reversed(self.opened.history(user))] == own

    def teardown(self) -> None:
        self.opened.store.close()
        self.folder.cleanup()


def _plain(receipt: Receipt) -> tuple[int, tuple[tuple[str, int], ...]]:
    return receipt.position, tuple((i.product_name, i.quantity) for i in receipt.items)


@pytest.mark.parametrize("kind", KINDS)
def test_every_store_keeps_the_books_of_the_model(kind: str) -> None:
    machine = type("Machine", (ShopMachine,), {"kind": kind})
    examples = settings(
        max_examples=settings.default.max_examples // 2,
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    run_state_machine_as_test(machine, settings=examples)


class _Forgetful(ShopMachine):
    """A planted fault: keys are not given to the store, so a retry sells twice."""

    kind = "memory"

    @rule(batch=st.lists(orders, min_size=1, max_size=5))
    def commit(self, batch: list[tuple[list[tuple[str, int]], str, str | None]]) -> None:
        expected = [self.books.expect(*order) for order in batch]
        outcomes = self.opened.commit(
            *(self.opened.order(*wanted, user=user) for wanted, user, _ in batch)
        )
        assert [told(outcome) for outcome in outcomes] == expected


def test_the_model_convicts_a_shop_that_forgets_keys() -> None:
    quick = settings(max_examples=200, deadline=None, phases=[Phase.generate])  # nobody reads it
    with pytest.raises(AssertionError):
        run_state_machine_as_test(_Forgetful, settings=quick)
