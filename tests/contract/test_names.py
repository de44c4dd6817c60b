"""Names in every store: found exactly first, then in another form; old ones stay what they are."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sportshop.catalogue import Catalogue
from sportshop.orders import Accepted, InsufficientStock, ProductNotFound
from sportshop.products import Product
from sportshop.storage import open_users
from sportshop.users import NewUser, UserExists
from tests.catalogues import CHEAP_HASH
from tests.contract.conftest import KINDS, Opened, url_of

NFC, NFD = "Vôlei", "Vo\u0302lei"
OLD = ["Ball", "Ball ", "Ball\u00a0", "\u200bBall", " ", "a\u2028b", "Bo\u0302la", "Kit"]
BOTH = ["é", "e\u0301"]
DEAR = CHEAP_HASH.replace("m=8,t=1,p=1", "m=16,t=3,p=1")


@pytest.fixture(params=KINDS)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """A store that was filled before there was a rule for names."""
    names = [*OLD, *BOTH]
    catalogue = Catalogue(
        [Product(name, 100, 10) for name in names],
        [NewUser(name, CHEAP_HASH) for name in names if name != BOTH[1]],
    )
    opened = Opened(url_of(request.param, tmp_path), catalogue)
    opened.reopen()
    yield opened
    opened.store.close()


def add(opened: Opened, *new: NewUser) -> int:
    """Add users beside the open store, as another process does, where that can be."""
    if opened.url.startswith("sqlite:"):
        with open_users(opened.url, Catalogue) as users:
            return users.add(new)
    return opened.store.users.add(new)


def order_of(opened: Opened, *items: tuple[str, int], key: str | None = None):
    return opened.order(*items, user="Ball", key=key)


@pytest.mark.parametrize("name", [*OLD, *BOTH])
def test_what_a_store_has_stays_as_it_is_and_is_bought_by_its_name(old: Opened, name: str) -> None:
    (outcome,) = old.commit(order_of(old, (name, 3)))
    assert isinstance(outcome, Accepted)
    assert outcome.receipt.items[0].product_name == name
    old.reopen()
    assert old.stock() == {other: 10 - 3 * (other == name) for other in [*OLD, *BOTH]}
    assert [r.items[0].product_name for r in old.history("Ball")] == [name]


@pytest.mark.parametrize(
    ("asked", "own"), [("Bôla", "Bo\u0302la"), ("\u212ait", "Kit"), ("K\u0131\u0307t", None)]
)
def test_a_product_is_bought_in_another_form_and_named_in_its_own(
    old: Opened, asked: str, own: str | None
) -> None:
    (outcome,) = old.commit(order_of(old, (asked, 2), key="k"))
    if own is None:
        assert outcome == ProductNotFound(asked, 0)
        return
    assert isinstance(outcome, Accepted)
    assert outcome.receipt.items[0].product_name == own
    (again,) = old.commit(order_of(old, (own, 2), key="k"))
    assert again == Accepted(outcome.receipt, 1, replayed=True)
    old.reopen()
    assert old.stock()[own] == 8
    assert old.history("Ball") == [outcome.receipt]


def test_items_that_name_a_product_in_two_forms_are_added_up(old: Opened) -> None:
    both = order_of(old, ("Bôla", 6), ("Bo\u0302la", 5))
    assert old.commit(both) == [InsufficientStock("Bo\u0302la", 11, 10, 0)]
    (outcome,) = old.commit(order_of(old, ("Bôla", 6), ("Bo\u0302la", 4)))
    assert isinstance(outcome, Accepted)
    assert [item.stock for item in outcome.receipt.items] == [0, 0]
    assert old.commit(order_of(old, ("Bôla", 1))) == [InsufficientStock("Bo\u0302la", 1, 0, 1)]


def test_products_side_by_side_in_two_forms_stay_two(old: Opened) -> None:
    assert isinstance(old.commit(order_of(old, ("é", 4), ("e\u0301", 6)))[0], Accepted)
    assert (old.stock()["é"], old.stock()["e\u0301"]) == (6, 4)


def test_users_are_found_exactly_first_and_then_in_another_form(old: Opened) -> None:
    users = old.store.users
    for name in OLD:
        found = users.find_same(name)
        assert found is not None
        assert found.name == name
        assert users.find(name) == found
    for asked, own in (("Bôla", "Bo\u0302la"), ("e\u0301", "é"), ("\u212ait", "Kit")):
        found = users.find_same(asked)
        assert found is not None
        assert found.name == own
        assert users.find(asked) is None


@pytest.mark.parametrize(
    "name",
    ["", "ball", "Ball\0", "\0", "\ud800", "Ball\udcff", "x" * 60_000, "e" + "\u0301" * 30_000],
)
def test_any_text_may_be_looked_up_as_a_user(old: Opened, name: str) -> None:
    assert old.store.users.find_same(name) is None
    assert old.store.users.find(name) is None


@pytest.mark.parametrize("name", ["Bôla", "Bo\u0302la", "e\u0301", "\u212ait", "Ball"])
def test_a_user_of_the_same_name_is_not_added(old: Opened, name: str) -> None:
    with pytest.raises(UserExists):
        add(old, NewUser("new", CHEAP_HASH), NewUser(name, CHEAP_HASH))
    assert old.store.users.find_same("new") is None
    assert add(old, NewUser("new", CHEAP_HASH)) == 1
    assert old.store.users.find_same("new") is not None


@pytest.mark.parametrize(("one", "other"), [(NFC, NFD), (NFD, NFC), ("e\u0301\u00e9", "éé")])
def test_two_forms_of_a_name_are_not_added_together(opened: Opened, one: str, other: str) -> None:
    users = opened.store.users
    with pytest.raises(UserExists):
        add(opened, NewUser(one, CHEAP_HASH), NewUser(other, CHEAP_HASH))
    assert users.find_same(one) is None
    assert add(opened, NewUser(one, CHEAP_HASH)) == 1
    found = users.find_same(other)
    assert found is not None
    assert found.name == one


def test_the_parameters_of_all_hashes_are_known_and_kept_up_to_date(opened: Opened) -> None:
    users = opened.store.users
    assert users.parameters() == {"m=8,t=1,p=1"}
    add(opened, NewUser("ana", DEAR))
    assert users.parameters() == {"m=8,t=1,p=1", "m=16,t=3,p=1"}
    opened.reopen()
    users = opened.store.users
    if opened.url != "memory:":
        assert users.find("ana") is not None
    assert users.parameters() == {"m=8,t=1,p=1", "m=16,t=3,p=1"}


def test_hashes_that_are_none_have_no_parameters(tmp_path: Path) -> None:
    bad = [f"{name}$x{number}" for number, name in enumerate(["", "senha", "$argon2id", "$2b$12"])]
    users = [NewUser(f"u{number}", phc) for number, phc in enumerate([*bad, CHEAP_HASH])]
    for kind in ("memory", "sqlite"):
        opened = Opened(url_of(kind, tmp_path), Catalogue([], users))
        assert opened.store.users.parameters() <= {"", "m=8,t=1,p=1"}
        opened.store.close()
