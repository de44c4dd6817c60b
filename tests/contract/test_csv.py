"""What only the CSV store promises: files that people read, and that crashes can't confuse."""

import csv
import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sportshop.orders import Receipt, SoldItem
from sportshop.storage import csv as csv_store
from sportshop.storage import open_store
from sportshop.storage.interface import StoreError
from sportshop.users import User
from tests.catalogues import SMALL
from tests.contract.conftest import Opened

PUCK = "Bola de Vôlei"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "shop"


@pytest.fixture
def opened(folder: Path) -> Iterator[Opened]:
    opened = Opened(f"csv:{folder}")
    yield opened
    opened.store.close()


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_ledger_is_a_row_an_item_that_a_spreadsheet_reads(opened: Opened, folder: Path) -> None:
    opened.commit(
        opened.order(('Boots, "Pro"', 1), (PUCK, 2), key="k,1"), opened.order(("Ball", 1))
    )
    first, second, third = rows(folder / "orders.csv")
    assert first == {
        "order": "1",
        "placedAt": "2023-11-14T22:13:20.123Z",
        "user": "user1",
        "orderKey": "k,1",
        "productName": 'Boots, "Pro"',
        "quantity": "1",
        "price": "899.00",
        "stockQuantity": "2",
        "seal": "",
    }
    assert (second["order"], second["productName"], second["seal"]) == ("1", PUCK, "")
    assert (third["order"], third["orderKey"], len(third["seal"])) == ("2", "", 8)


def test_products_csv_shows_what_is_left_after_a_stop(opened: Opened, folder: Path) -> None:
    opened.commit(opened.order(("Ball", 4)))
    opened.reopen()
    assert rows(folder / "products.csv")[0] == {
        "name": "Ball",
        "price": "149.90",
        "stockQuantity": "6",
        "openingStock": "10",
    }


def test_the_ledger_is_only_appended_to(opened: Opened, folder: Path) -> None:
    opened.commit(opened.order(("Ball", 1)))
    before = (folder / "orders.csv").read_bytes()
    opened.commit(opened.order(("Ball", 1)))
    opened.reopen()
    assert (folder / "orders.csv").read_bytes().startswith(before)


@pytest.fixture
def ledger(opened: Opened, folder: Path) -> Path:
    """The ledger of three batches, of a store that is closed."""
    opened.commit(opened.order(("Ball", 1)), opened.order((PUCK, 3), user="user2"))
    opened.commit(opened.order((PUCK, 1), ("Ball", 2)))
    opened.commit(opened.order(("Ball", 1)))
    opened.store.close()
    return folder / "orders.csv"


def test_a_last_batch_cut_short_anywhere_is_dropped_whole(
    opened: Opened, ledger: Path, folder: Path
) -> None:
    whole = ledger.read_bytes()
    lines = whole.splitlines(keepends=True)
    keep = len(b"".join(lines[:3]))  # the header and the first batch
    cut_whole = b"".join(lines[:5])
    for size in range(keep, len(cut_whole)):
        ledger.write_bytes(cut_whole[:size])
        opened.open()
        assert opened.store.orders.count() == 2
        assert opened.stock() == {"Ball": 9, 'Boots, "Pro"': 3, PUCK: 999_997}
        assert ledger.read_bytes() == cut_whole[:keep]
        if size > keep:
            kept = folder / "torn-after-order-2.csv"
            assert kept.read_bytes() == cut_whole[keep:size]
        opened.store.close()
    ledger.write_bytes(whole)
    opened.open()


def test_a_last_batch_with_a_hole_is_dropped_whole(opened: Opened, ledger: Path) -> None:
    """A crash may leave a page of zeros before one that was written."""
    whole = ledger.read_bytes()
    start = len(b"".join(whole.splitlines(keepends=True)[:5]))
    for at in range(start, len(whole) - 1, 5):
        ledger.write_bytes(whole[:at] + bytes(len(whole[at : at + 4])) + whole[at + 4 :])
        opened.open()
        assert opened.store.orders.count() == 3
        opened.store.close()
    ledger.write_bytes(whole)
    opened.open()


def test_damage_before_the_last_batch_is_refused_and_named(opened: Opened, ledger: Path) -> None:
    whole = ledger.read_bytes()
    lines = whole.splitlines(keepends=True)
    lines[2] = lines[2].replace(b",3,", b",2,")
    ledger.write_bytes(b"".join(lines))
    with pytest.raises(StoreError, match=r"orders\.csv, lines 2 to \d: damaged: wrong seal"):
        open_store(opened.url, lambda: SMALL)
    assert ledger.read_bytes() == b"".join(lines)
    ledger.write_bytes(whole)
    opened.open()


def test_a_ledger_that_does_not_fit_its_products_is_refused(
    opened: Opened, ledger: Path, folder: Path
) -> None:
    products = folder / "products.csv"
    text = products.read_text()
    products.write_text(text.replace(",10\n", ",11\n"))
    with pytest.raises(
        StoreError, match=r"orders\.csv, line 2: expected stockQuantity 10, found 9"
    ):
        open_store(opened.url, lambda: SMALL)
    products.write_text(text)
    opened.open()


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "products.csv").write_text("name,price,stockQuantity\n")
    with pytest.raises(StoreError, match="give the store a folder of its own"):
        open_store(f"csv:{tmp_path}", lambda: SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["products.csv"]


def test_a_filling_cut_short_is_done_again(tmp_path: Path) -> None:
    url = f"csv:{tmp_path}/shop"
    open_store(url, lambda: SMALL).close()
    (tmp_path / "shop" / "store.json").unlink()  # it is written last
    (tmp_path / "shop" / "users.csv").unlink()
    store = open_store(url, lambda: SMALL)
    assert store.users.find("user1")
    store.close()


def test_a_store_of_a_later_version_is_refused(opened: Opened, folder: Path) -> None:
    opened.store.close()
    path = folder / "store.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"version": 9}))
    with pytest.raises(StoreError, match="has version 9: this sportshop knows version 1"):
        open_store(opened.url, lambda: SMALL)
    path.write_text("{")
    with pytest.raises(StoreError, match=r"store\.json"):
        open_store(opened.url, lambda: SMALL)
    path.write_text(json.dumps(settings))
    opened.open()


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1),
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1),
    st.integers(1, 10**6),
)
def test_a_row_written_by_hand_is_read_back_by_the_csv_module(
    name: str, key: str, quantity: int
) -> None:
    items = (SoldItem(name, quantity, 5, 7), SoldItem("Ball", 1, 10**6, 0))
    receipt = Receipt(12, 1_700_000_000_123, User(3, name, ""), items, key)
    text = csv_store._rows(receipt).decode()
    order = ["12", "2023-11-14T22:13:20.123Z", name, key]
    assert list(csv.reader(StringIO(text, newline=""), strict=True)) == [
        [*order, name, str(quantity), "0.05", "7", ""],
        [*order, "Ball", "1", "10000.00", "0", ""],
    ]
