"""What only the CSV store promises: files that people read, and that crashes can't confuse."""

import csv
import json
import os
import zlib
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sportshop.catalogue import Catalogue
from sportshop.orders import Accepted, Receipt, SoldItem
from sportshop.products import Product
from sportshop.storage import csv_rows, open_store
from sportshop.storage.interface import StoreError
from sportshop.users import NewUser, User
from tests.catalogues import CHEAP_HASH, SMALL
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


names = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), min_size=1)
keys = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1)


@given(names, keys, st.integers(1, 10**6))
def test_a_row_written_by_hand_is_read_back_by_the_csv_module(
    name: str, key: str, quantity: int
) -> None:
    items = (SoldItem(name, quantity, 5, 7), SoldItem("Ball", 1, 10**6, 0))
    receipt = Receipt(12, 1_700_000_000_123, User(3, name, ""), items, key)
    rows = csv_rows.order_rows(receipt)
    order = ["12", "2023-11-14T22:13:20.123Z", csv_rows.mark(name), csv_rows.mark(key)]
    assert list(csv.reader(StringIO(rows.decode(), newline=""), strict=True)) == [
        [*order, csv_rows.mark(name), str(quantity), "0.05", "7", ""],
        [*order, "Ball", "1", "10000.00", "0", ""],
    ]
    assert csv_rows.parse_receipt(csv_rows.parse_rows(rows), receipt.user, marked=True) == receipt


@given(names)
def test_no_cell_begins_a_formula_and_each_is_read_back(text: str) -> None:
    cell = csv_rows.mark(text)
    assert cell.lstrip()[:1] not in {"=", "+", "-", "@"}
    assert cell[:1] not in {"\t", "\r"}
    assert csv_rows.unmark(cell) == text


FORMULAS = ['=HYPERLINK("http://x","y")', "@SUM(1+1)", "+1", "-1", "'=1", "''", "'", "=", "' -1"]


def test_a_formula_for_a_key_is_text_in_the_file_and_itself_for_the_shop(
    opened: Opened, folder: Path
) -> None:
    for key in FORMULAS:
        opened.commit(opened.order(("Ball", 1), key=key))
    opened.commit(opened.order((PUCK, 1), key="plain, 'quoted'"))
    for _ in range(2):
        assert [r.key for r in reversed(opened.history())][:-1] == FORMULAS
        for key in FORMULAS:
            (replay,) = opened.commit(opened.order(("Ball", 1), key=key))
            assert isinstance(replay, Accepted)
            assert replay.replayed
        opened.reopen()
    cells = [row["orderKey"] for row in rows(folder / "orders.csv")]
    assert cells == ["'" + key for key in FORMULAS] + ["plain, 'quoted'"]


NAMES = [*FORMULAS, "Ball\u2028Pro", "a\u2029", '"', " ", ", ,"]
NAMES += ["x" * 200, "=1, 2", "\ufeff", "\U0001f3d0", "e\u0301", "\uff1d1"]


def sell_under_all_names(opened: Opened) -> None:
    for name in NAMES:
        own = opened.order((name, 1), user=name[:64], key="k")
        opened.commit(own, opened.order(("Ball", 1)))
    opened.commit(opened.order(*((name, 1) for name in NAMES), key="all"))


def test_any_name_that_was_accepted_once_is_sold_replayed_and_listed(tmp_path: Path) -> None:
    """A line ends with LF and with nothing else, whatever Python calls the end of a line."""
    products = [Product(name, 100, 1000) for name in ("Ball", *NAMES)]
    catalogue = Catalogue(products, [NewUser(name[:64], CHEAP_HASH) for name in ("user1", *NAMES)])
    opened, memory = Opened(f"csv:{tmp_path}/shop", catalogue), Opened("memory:", catalogue)
    for shop in (opened, memory):
        sell_under_all_names(shop)
    for _ in range(2):
        assert opened.stock() == memory.stock()
        for name in NAMES:
            assert opened.history(name[:64]) == memory.history(name[:64])
            (replay,) = opened.commit(opened.order((name, 1), user=name[:64], key="k"))
            assert isinstance(replay, Accepted)
            assert replay.replayed
        opened.reopen()
    for file in ("products.csv", "users.csv"):
        assert not any(
            next(iter(row.values()))[:1] in "=+-@\t\r" for row in rows(tmp_path / "shop" / file)
        )
    opened.store.close()


def as_an_earlier_version_wrote_it(folder: Path, name: str, key: str) -> None:
    """Write a store whose cells are not marked, with orders 1 and 2 of user `name`."""
    folder.mkdir()
    users = f'user,passwordHash\n{name},"{CHEAP_HASH}"\n'
    (folder / "users.csv").write_text(users, encoding="utf-8")
    products = f"name,price,stockQuantity,openingStock\n{name},1.00,10,10\n"
    (folder / "products.csv").write_text(products, encoding="utf-8")
    settings = {"format": "sportshop-csv", "version": 1, "tokenKey": "00" * 32}
    (folder / "store.json").write_text(json.dumps(settings))
    at = "2023-11-14T22:13:20.123Z"
    batch = f"1,{at},{name},{key},{name},1,1.00,9,\n2,{at},{name},,{name},2,1.00,7,".encode()
    (folder / "orders.csv").write_bytes(csv_rows.HEADER + b"%s%08x\n" % (batch, zlib.crc32(batch)))


@pytest.mark.parametrize("name", ["ana", "=1", "'=1", "''", "@x", "a\u2028b"])
def test_a_store_of_an_earlier_version_means_what_it_meant(name: str, folder: Path) -> None:
    as_an_earlier_version_wrote_it(folder, name, "'+1")
    opened = Opened(f"csv:{folder}")
    for sold in range(2):
        assert [r.key for r in opened.history(name)][-2:] == [None, "'+1"]
        assert opened.stock() == {name: 7 - sold}
        for key, replayed in (("'+1", True), ("+1", bool(sold))):
            (outcome,) = opened.commit(opened.order((name, 1), user=name, key=key))
            assert isinstance(outcome, Accepted)
            assert outcome.replayed is replayed
        opened.reopen()
    opened.store.close()


def test_a_page_of_large_baskets_has_few_orders(opened: Opened) -> None:
    basket = [(PUCK, 1)] * 100
    opened.commit(*(opened.order(*basket) for _ in range(25)))
    pages = list(opened.store.orders.history(opened.user()))
    assert [len(page) for page in pages] == [10, 10, 5]


def test_a_look_at_what_was_before_anothers_order_searches_no_chain(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        own = [opened.order((PUCK, 1)) for _ in range(1_000)]
        opened.commit(opened.order((PUCK, 1), user="user2"), *own)
    reads: list[int] = []
    pread = os.pread

    def counted(file: int, size: int, offset: int) -> bytes:
        reads.append(offset)
        return pread(file, size, offset)

    monkeypatch.setattr(os, "pread", counted)
    assert [r.position for r in opened.history(before=1_002, limit=1)] == [1_001]
    assert len(reads) == 1
