"""What every store promises, held against each of them. See storage/interface.py."""

from pathlib import Path

import pytest

from sportshop.orders import Accepted, InsufficientStock, OrderKeyReused, SoldItem
from sportshop.storage import open_store
from sportshop.storage.interface import StoreError, StoreLocked
from sportshop.users import NewUser, UserExists
from tests.catalogues import BALL, CHEAP_HASH, SMALL
from tests.contract.conftest import KINDS, NOW_MS, Opened, url_of

BOOTS = 'Boots, "Pro"'
PUCK = "Bola de Vôlei"


def test_a_new_store_has_the_catalogue(opened: Opened) -> None:
    snapshot = opened.store.products.snapshot()
    assert snapshot.as_of == 0
    assert snapshot.products == tuple(sorted(SMALL.products, key=lambda p: p.name))
    assert opened.user("user5").password_hash == CHEAP_HASH
    assert opened.store.users.find("nobody") is None


def test_an_order_takes_the_next_position_and_the_stock(opened: Opened) -> None:
    (first,) = opened.commit(opened.order(("Ball", 3)))
    (second,) = opened.commit(opened.order(("Ball", 4), (PUCK, 1), user="user2"))
    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    assert (first.receipt.position, second.receipt.position) == (1, 2)
    assert second.receipt.items == (
        SoldItem("Ball", 4, BALL.price, 3),
        SoldItem(PUCK, 1, 750, 999_999),
    )
    assert opened.stock() == {"Ball": 3, BOOTS: 3, PUCK: 999_999}
    assert opened.store.products.snapshot().as_of == opened.store.orders.count() == 2


def test_orders_of_a_batch_see_those_before_them(opened: Opened) -> None:
    outcomes = opened.commit(
        opened.order(("Ball", 6)),
        opened.order(("Ball", 6), user="user2"),
        opened.order(("Ball", 4)),
    )
    assert [type(outcome) for outcome in outcomes] == [Accepted, InsufficientStock, Accepted]
    assert outcomes[1] == InsufficientStock("Ball", 6, 4, as_of=1)
    assert opened.stock()["Ball"] == 0


def test_a_transaction_that_is_rolled_back_leaves_nothing(opened: Opened) -> None:
    transaction = opened.store.begin()
    transaction.products({"Ball"})
    transaction.rollback()
    assert opened.stock()["Ball"] == 10
    (outcome,) = opened.commit(opened.order(("Ball", 1)))
    assert isinstance(outcome, Accepted)
    assert outcome.receipt.position == 1


def test_a_snapshot_does_not_change_under_its_reader(opened: Opened) -> None:
    before = opened.store.products.snapshot()
    opened.commit(opened.order(("Ball", 1)))
    assert {p.name: p.stock for p in before.products}["Ball"] == 10


def test_a_user_sees_the_own_orders_newest_first_and_nobody_elses(opened: Opened) -> None:
    for _ in range(3):
        opened.commit(opened.order((PUCK, 1)), opened.order((PUCK, 2), user="user2"))
    assert [receipt.position for receipt in opened.history()] == [5, 3, 1]
    assert [receipt.position for receipt in opened.history("user2")] == [6, 4, 2]
    assert opened.history("user3") == []


def test_history_can_be_cut_at_both_ends(opened: Opened) -> None:
    opened.commit(*(opened.order((PUCK, 1), user=f"user{i % 2 + 1}") for i in range(700)))
    own = list(range(699, 0, -2))
    assert [r.position for r in opened.history()] == own
    assert [r.position for r in opened.history(limit=3)] == own[:3]
    assert [r.position for r in opened.history(before=499)] == [p for p in own if p < 499]
    assert [r.position for r in opened.history(before=500, limit=2)] == [499, 497]
    assert [r.position for r in opened.history(before=10**30, limit=1)] == [699]
    assert opened.history(before=1) == []
    pages = list(opened.store.orders.history(opened.user()))
    assert max(len(page) for page in pages) == 100


def test_a_receipt_is_read_as_it_was_given(opened: Opened) -> None:
    (outcome,) = opened.commit(opened.order((BOOTS, 1), ("Ball", 2), (BOOTS, 1), key="a, \"b'"))
    assert isinstance(outcome, Accepted)
    opened.reopen()
    (receipt,) = opened.history()
    assert receipt.items == outcome.receipt.items
    assert receipt.items[0] == receipt.items[2] == SoldItem(BOOTS, 1, 89_900, 1)
    assert (receipt.key, receipt.placed_at_ms) == ("a, \"b'", NOW_MS)


def test_a_key_sells_once_in_a_batch_and_after_a_restart(opened: Opened) -> None:
    order = opened.order(("Ball", 2), key="k")
    first, retry = opened.commit(order, order)
    opened.reopen()
    (later,) = opened.commit(opened.order(("Ball", 1), ("Ball", 1), key="k"))
    for replay in (retry, later):
        assert isinstance(first, Accepted)
        assert isinstance(replay, Accepted)
        assert replay.replayed
        assert replay.receipt.items == first.receipt.items
    assert opened.stock()["Ball"] == 8


def test_a_key_is_its_users_own_and_of_the_same_items_only(opened: Opened) -> None:
    opened.commit(opened.order(("Ball", 2), key="k"))
    other, own = opened.commit(
        opened.order(("Ball", 2), user="user2", key="k"), opened.order(("Ball", 3), key="k")
    )
    assert isinstance(other, Accepted)
    assert not other.replayed
    assert own == OrderKeyReused("k")


def test_the_key_of_a_refused_order_can_be_used_again(opened: Opened) -> None:
    refused, accepted = opened.commit(
        opened.order(("Ball", 11), key="k"), opened.order(("Ball", 10), key="k")
    )
    assert isinstance(refused, InsufficientStock)
    assert isinstance(accepted, Accepted)


def test_users_can_be_added_once(opened: Opened) -> None:
    if opened.url.startswith("sqlite:"):
        pytest.skip("users are added through a connection of their own: see test_sqlite.py")
    with pytest.raises(UserExists, match="'user1'"):
        opened.store.users.add([NewUser("new", CHEAP_HASH), NewUser("user1", CHEAP_HASH)])
    assert opened.store.users.find("new") is None
    assert opened.store.users.add([NewUser('new, "one"', CHEAP_HASH)]) == 1
    opened.reopen()
    assert opened.user('new, "one"').password_hash == CHEAP_HASH


def test_a_durable_store_is_the_same_after_it_was_opened_again(durable: Opened) -> None:
    durable.commit(durable.order(("Ball", 2)), durable.order((BOOTS, 1), user="user2"))
    durable.commit(durable.order(("Ball", 2)))
    before = durable.store.products.snapshot()
    key = durable.store.token_key
    durable.reopen()
    assert durable.store.products.snapshot() == before
    assert durable.store.token_key == key
    assert [r.position for r in durable.history()] == [3, 1]
    durable.commit(durable.order(("Ball", 1)))
    durable.reopen()
    assert [r.position for r in durable.history()] == [4, 3, 1]


def test_a_durable_store_is_open_once(durable: Opened) -> None:
    with pytest.raises(StoreLocked, match="open in another process"):
        open_store(durable.url, lambda: SMALL)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_store_asks_for_the_catalogue(kind: str, tmp_path: Path) -> None:
    def broken() -> None:
        raise LookupError("asked")

    with pytest.raises(LookupError, match="asked"):
        open_store(url_of(kind, tmp_path), broken)


@pytest.mark.parametrize("url", ["", "sqlite", "sqlite:", "csv:", "memory:x", "oracle:x", "memory"])
def test_an_unknown_store_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="expected memory:, csv:FOLDER or sqlite:FILE"):
        open_store(url, lambda: SMALL)
