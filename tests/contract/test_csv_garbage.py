"""Whatever stands in a CSV store's files: it opens, or one line says why it doesn't."""

import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sportshop.orders import Accepted
from sportshop.storage import csv_keys, csv_scan, open_store
from sportshop.storage.csv_rows import HEADER
from sportshop.storage.interface import StorageFailed, StoreError
from tests.catalogues import SMALL
from tests.contract.conftest import Opened

FILES = ("orders.csv", "products.csv", "users.csv", "store.json", "ledger.mark")
AT = "2023-11-14T22:13:20.123Z"


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with orders that is closed."""
    folder = tmp_path_factory.mktemp("garbage") / "shop"
    opened = Opened(f"csv:{folder}")
    for n in range(4):
        opened.commit(
            opened.order(("Ball", 1), ('Boots, "Pro"', 1) if n < 3 else ("Ball", 1), key=f"={n}"),
            opened.order(("Bola de Vôlei", 2), user="user2"),
        )
    opened.store.close()
    return folder


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "shop"


def look_into(folder: Path) -> bool:
    """Open it and read everything; False if it is refused."""
    try:
        store = open_store(f"csv:{folder}", lambda: SMALL)
    except StoreError:
        return False
    try:
        for name in ("user1", "user2"):
            if user := store.users.find(name):
                with suppress(StorageFailed):
                    list(store.orders.history(user))
    finally:
        store.close()
    return True


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(FILES),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 40),
    st.one_of(st.binary(max_size=12), st.sampled_from([b"\n", b",", b'"', b"\0", b"\r", b"'"])),
)
def test_no_damage_ends_in_anything_but_a_line(
    stopped: Path, scratch: Path, name: str, place: float, cut: int, put: bytes
) -> None:
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(stopped, scratch)
    content = (scratch / name).read_bytes()
    at = int(place * len(content))
    (scratch / name).write_bytes(content[:at] + put + content[at + cut :])
    opens = look_into(scratch)
    if name == "orders.csv" and content[at : at + cut] != put:
        assert not opens or (scratch / name).read_bytes() == content


def sealed(batch: bytes) -> bytes:
    return batch + b"%08x\n" % zlib.crc32(batch)


GOOD = f"1,{AT},user1,,Ball,1,149.90,9,"
QUOTED = f'1,{AT},user1,,"Boots, ""Pro""",1,699.00,2,'


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        (GOOD.replace(",9,", ",8,"), "line 2: expected stockQuantity 9, found 8"),
        (GOOD.replace(",1,149", ",0,149"), "line 2: quantity: expected 1 or more, found 0"),
        (GOOD.replace(",1,149", ",11,149"), "line 2: expected stockQuantity -1, found 9"),
        (GOOD.replace("1,2", "2,2", 1), "line 2: expected order 1, found 2"),
        (GOOD.replace("1,2", "one,2", 1), "line 2: order: expected a whole number, found 'one'"),
        (GOOD.replace("1,2", "\u0661,2", 1), "line 2: order: expected a whole number, found"),
        (GOOD.replace("1,2", "1" * 5000 + ",2", 1), "line 2: order: expected a whole number"),
        (GOOD.replace("1,2", ",2", 1), "line 2: order: expected a whole number, found"),
        (GOOD.replace(AT, "2023-13-14T22:13:20.123Z"), "line 2: placedAt: "),
        (GOOD.replace(AT, "14/11/23"), "line 2: placedAt: "),
        (GOOD.replace("149.90", "149,90"), "line 2: expected 9 columns"),
        (f"{GOOD},2\n{AT},user2,,Ball,1,149.90,8,", "line 2: expected 9 columns"),
        (f"{GOOD}\n2,{AT},user2,Ball,1,149.90,8,", "line 3: expected 9 columns"),
        (f"{GOOD}\n\n2,{AT},user2,,Ball,1,149.90,8,", "line 3: expected 9 columns"),
        (GOOD.replace(",1,149.90,9", ",11,149.90,-1"), "line 2: stockQuantity: expected a whole"),
        (GOOD.replace("149.90", "1.499"), "line 2: price: expected an amount"),
        (GOOD.replace("user1", "nobody"), "line 2: users.csv has no 'nobody'"),
        (GOOD.replace("Ball", "Nothing"), "line 2: products.csv has no 'Nothing'"),
        (GOOD.replace("Ball", '"Ball'), "line 2: not correct CSV: "),
        (GOOD.replace("Ball", '"Ball"x'), "line 2: not correct CSV: "),
        (GOOD.replace("Ball", '"' + "x" * 200_000 + '"'), "line 2: not correct CSV: "),
        (GOOD.replace("Ball", "x" * 200_000), "line 2: products.csv has no 'xxx"),
        (GOOD.replace("Ball", "B\rall"), "line 2: products.csv has no 'B\\rall'"),
        (GOOD.replace("Ball", "\0"), "line 2: products.csv has no '\\x00'"),
        (GOOD + f"\n1,{AT},user2,,Ball,1,149.90,8,", "line 2: expected stockQuantity 8, found 9"),
        (
            f"{GOOD.replace(',9,', ',8,')}\n1,{AT},user2,,Ball,1,149.90,8,",
            "line 3: expected 'user1' as in the order's first row, found 'user2'",
        ),
        (GOOD + f"\n3,{AT},user2,,Ball,1,149.90,8,", "line 3: expected order 2, found 3"),
        (f"{QUOTED}\n2,{AT},user2,Ball,1,149.90,9,", "line 3: expected 9 columns"),
        (f"{QUOTED}\n2,{AT},user2,\r,Ball,1,149.90,9,", "line 3: not correct CSV: new-line"),
        (f'{QUOTED}\n2,{AT},user2,,Ball,1,149.90,9,\n3,{AT},user2,",', "line 4: not correct CSV"),
        (
            "\n".join(f"{n},{AT}{n * 7},user1,,Ball,1,149.90,{10 - n}," for n in range(1, 9)),
            "line 2: placedAt: unconverted data remains: 7",
        ),
        (GOOD + "\n", "line 3: damaged: neither a batch nor what a crash leaves of one"),
    ],
)
def test_a_ledger_with_right_seals_and_wrong_cells_is_refused_at_the_line(
    batch: str, says: str, stopped: Path, scratch: Path
) -> None:
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(stopped, scratch)
    (scratch / "ledger.mark").unlink()
    (scratch / "orders.csv").write_bytes(HEADER + sealed(batch.encode()))
    with pytest.raises(StoreError) as refused:
        open_store(f"csv:{scratch}", lambda: SMALL)
    assert says in str(refused.value)
    assert len(str(refused.value)) < 500


def test_bytes_that_are_not_utf_8_are_refused_at_the_line(stopped: Path, scratch: Path) -> None:
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(stopped, scratch)
    (scratch / "ledger.mark").unlink()
    rows = GOOD.encode() + b"\n" + GOOD.encode().replace(b"Ball", b"B\xe1ll")
    (scratch / "orders.csv").write_bytes(HEADER + sealed(rows))
    with pytest.raises(StoreError, match=r"orders\.csv, line 3: expected UTF-8"):
        open_store(f"csv:{scratch}", lambda: SMALL)


cells = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=12)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(cells, min_size=7, max_size=10), min_size=1, max_size=3))
@example([["1", AT, "user1", "'", "Ball", "1", "149.90", "9", ""]])
@example([["1", AT, "user1", "\r", "Ball", "1", "149.90", "9", ""]])
def test_no_row_ends_in_anything_but_a_line(
    stopped: Path, scratch: Path, rows: list[list[str]]
) -> None:
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(stopped, scratch)
    (scratch / "ledger.mark").unlink()
    batch = "\n".join(",".join(row) for row in rows).encode()
    (scratch / "orders.csv").write_bytes(HEADER + sealed(batch))
    look_into(scratch)


@pytest.mark.parametrize("size", [1, 64, 200, 1000])
def test_a_ledger_is_read_alike_in_blocks_of_any_size(
    size: int, stopped: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(stopped, scratch)
    expected = Opened(f"csv:{scratch}")
    history, stock = expected.history(), expected.stock()
    expected.store.close()
    monkeypatch.setattr(csv_scan, "BLOCK_BYTES", size)
    opened = Opened(f"csv:{scratch}")
    assert (opened.history(), opened.stock()) == (history, stock)
    assert [receipt.key for receipt in history] == ["=3", "=2", "=1", "=0"]
    opened.store.close()


def test_keys_of_one_hash_are_told_apart_by_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_keys, "HASH_MASK", 0)
    monkeypatch.setattr(csv_keys, "BUCKET_MASK", 0)
    opened = Opened(f"csv:{tmp_path}/shop")
    for n in range(8):
        user = f"user{n % 2 + 1}"
        opened.commit(opened.order(("Ball", 1), user=user, key=f"k{n // 2}"))
    for _ in range(2):
        for n in range(8):
            user = f"user{n % 2 + 1}"
            (replay,) = opened.commit(opened.order(("Ball", 1), user=user, key=f"k{n // 2}"))
            assert isinstance(replay, Accepted)
            assert (replay.replayed, replay.receipt.position) == (True, n + 1)
        opened.reopen()
    opened.store.close()
