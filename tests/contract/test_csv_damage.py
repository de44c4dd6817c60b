"""What the end of a ledger may look like: what a crash leaves is set aside, all else refused."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sportshop.storage import csv_mark, open_store
from sportshop.storage.interface import StoreError
from tests.catalogues import SMALL
from tests.contract.conftest import Opened

PUCK = "Bola de Vôlei"
MARK = "ledger.mark"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "shop"


@pytest.fixture
def opened(folder: Path) -> Iterator[Opened]:
    opened = Opened(f"csv:{folder}")
    yield opened
    opened.store.close()


def sell(opened: Opened) -> None:
    """Sell four orders in three batches."""
    opened.commit(opened.order(("Ball", 1)), opened.order((PUCK, 3), user="user2"))
    opened.commit(opened.order((PUCK, 1), ("Ball", 2)))
    opened.commit(opened.order(("Ball", 1), key="the key"))


class Ledger:
    """A ledger of three batches that a test damages, and then mends."""

    def __init__(self, opened: Opened, folder: Path) -> None:
        self.opened = opened
        self.folder = folder
        self.path = folder / "orders.csv"
        self.whole = self.path.read_bytes()
        lines = self.whole.splitlines(keepends=True)
        ends = [0, 1, 3, 5, 6]  # in lines: of the header and of the batches
        self.ends = [len(b"".join(lines[:end])) for end in ends][1:]

    def torn(self) -> list[Path]:
        return sorted(self.folder.glob("torn-*"))

    def assert_refused(self, content: bytes, match: str) -> None:
        """Hold a start to refuse this content in one line, and to touch nothing."""
        self.path.write_bytes(content)
        before = {p.name: p.read_bytes() for p in self.folder.iterdir()}
        with pytest.raises(StoreError, match=match) as refused:
            open_store(self.opened.url, lambda: SMALL)
        assert "\n" not in str(refused.value)
        assert {p.name: p.read_bytes() for p in self.folder.iterdir()} == before

    def assert_starts(self, content: bytes, orders: int) -> None:
        """Hold a start to drop what follows so many orders, and to keep it aside."""
        self.path.write_bytes(content)
        for path in self.torn():
            path.unlink()
        self.opened.open()
        try:
            assert self.opened.store.orders.count() == orders
            end = self.ends[{0: 0, 2: 1, 3: 2, 4: 3}[orders]]
            assert self.path.read_bytes() == content[:end]
            assert [p.read_bytes() for p in self.torn()] == [content[end:]] * (len(content) > end)
        finally:
            self.opened.store.close()


@pytest.fixture
def killed(opened: Opened, folder: Path) -> Iterator[Ledger]:
    """A ledger as a killed shop leaves it: with the mark of its start."""
    mark = (folder / MARK).read_bytes()
    sell(opened)
    opened.store.close()
    (folder / MARK).write_bytes(mark)
    yield (ledger := Ledger(opened, folder))
    ledger.path.write_bytes(ledger.whole)
    (folder / MARK).write_bytes(mark)
    opened.open()


@pytest.fixture
def stopped(opened: Opened, folder: Path) -> Iterator[Ledger]:
    """A ledger as a stop leaves it."""
    sell(opened)
    opened.store.close()
    yield (ledger := Ledger(opened, folder))
    ledger.path.write_bytes(ledger.whole)
    opened.open()


def test_a_last_batch_cut_short_anywhere_is_dropped_whole(killed: Ledger) -> None:
    mark = (killed.folder / MARK).read_bytes()
    for size in range(killed.ends[1], killed.ends[2], 3):
        killed.assert_starts(killed.whole[:size], 2)
        assert killed.opened.stock() == {"Ball": 9, 'Boots, "Pro"': 3, PUCK: 999_997}
        (killed.folder / MARK).write_bytes(mark)


def test_a_last_batch_with_a_hole_is_dropped_whole(killed: Ledger) -> None:
    """A crash may leave blocks of zeros where the disk did not get to write."""
    mark = (killed.folder / MARK).read_bytes()
    whole = killed.whole
    for at in range(killed.ends[2], len(whole) - 1, 9):
        killed.assert_starts(whole[:at] + bytes(len(whole[at : at + 4])) + whole[at + 4 :], 3)
        killed.assert_starts(whole[:at] + bytes(len(whole) - at), 3)
        (killed.folder / MARK).write_bytes(mark)


def test_a_batch_that_is_set_aside_is_told(
    killed: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    killed.assert_starts(killed.whole[:-3], 3)
    (warning,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    file = str(killed.folder / "torn-after-order-3.csv")
    size = len(killed.whole) - 3 - killed.ends[2]
    assert vars(warning)["facts"] == {"file": file, "bytes": size, "orders": 3}


def test_what_was_set_aside_before_is_never_overwritten(killed: Ledger) -> None:
    (killed.folder / "torn-after-order-3.csv").write_bytes(b"another time")
    killed.path.write_bytes(killed.whole[:-3])
    killed.opened.open()
    contents = killed.opened.store.contents
    killed.opened.store.close()
    assert [path.name for path in killed.torn()] == [
        "torn-after-order-3-2.csv",
        "torn-after-order-3.csv",
    ]
    assert killed.torn()[1].read_bytes() == b"another time"
    assert contents["set_aside_bytes"] == sum(p.stat().st_size for p in killed.torn())


# What no crash leaves.

OTHER_ENDS: dict[str, Callable[[bytes], bytes]] = {
    "a price re-saved": lambda last: last.replace(b",149.90,", b",149.9,"),
    "a stock": lambda last: last.replace(b",6,", b",7,"),
    "a key": lambda last: last.replace(b"the key", b"thekey"),
    "a name": lambda last: last.replace(b"Ball", b"ball"),
    "a bit of the seal": lambda last: last[:-2] + bytes([last[-2] ^ 1]) + last[-1:],
    "a seal in capitals": lambda last: last[:-9] + last[-9:].upper().replace(b"\n", b"A\n"),
    "a seal as a number": lambda last: last[:-9] + b"1.20E+05\n",
    "no seal": lambda last: last[:-9],
    "quotes": lambda last: b",".join(b'"%s"' % cell for cell in last[:-1].split(b",")) + b"\n",
    "a date of a spreadsheet": lambda last: last.replace(b"2023-11-14T22:13:20.123Z", b"14/11/23"),
    "CRLF": lambda last: last.replace(b"\n", b"\r\n"),
    "a blank line": lambda last: last + b"\n",
    "blank lines": lambda last: last + b"\n\n\n",
    "a line of commas": lambda last: last + b",,,,,,,,\n",
    "a word": lambda last: last + b"hello",
    "a line": lambda last: last + b"hello\n",
    "an order by hand": lambda last: (
        last + b"5,2023-11-14T22:13:20.123Z,user1,,Ball,1,149.90,5,\n"[:-2] + b"\n"
    ),
    "an order with another number": lambda last: (
        last + b"7,2023-11-14T22:13:20.123Z,user1,,Ball,1,149.90,5,"
    ),
    "the batch twice": lambda last: last + last,
    "half the batch again": lambda last: last + last[:20],
}


@pytest.mark.parametrize("defect", OTHER_ENDS)
def test_an_end_that_no_crash_leaves_is_refused(defect: str, killed: Ledger) -> None:
    last = killed.whole[killed.ends[2] :]
    content = OTHER_ENDS[defect](last)
    if defect == "no seal":
        content += b"\n,\n"
    assert content != last
    killed.assert_refused(killed.whole[: killed.ends[2]] + content, r"orders\.csv, lines? \d")


WHOLE_FILE: dict[str, Callable[[bytes], bytes]] = {
    "CRLF": lambda whole: whole.replace(b"\n", b"\r\n"),
    "BOM": lambda whole: b"\xef\xbb\xbf" + whole,
    "semicolons": lambda whole: whole.replace(b",", b";"),
    "empty": lambda whole: b"",
    "zeros": lambda whole: bytes(len(whole)),
    "every price": lambda whole: whole.replace(b".90,", b".9,"),
    "every seal": lambda whole: b"\n".join(
        line.rpartition(b",")[0] + b"," for line in whole.split(b"\n")
    ),
    "a first byte": lambda whole: b"O" + whole[1:],
    "a row": lambda whole: whole[: whole.index(b"\n2,") + 1] + whole[whole.index(b"\n3,") + 1 :],
    "a digit": lambda whole: whole.replace(b",3,7.50", b",2,7.50"),
    "a bit of UTF-8": lambda whole: whole.replace(b"\xc3", b"\xe3"),
}


@pytest.mark.parametrize("defect", WHOLE_FILE)
def test_damage_anywhere_is_refused(defect: str, killed: Ledger) -> None:
    content = WHOLE_FILE[defect](killed.whole)
    assert content != killed.whole
    killed.assert_refused(content, r"orders\.csv, lines? \d")


def test_damage_before_the_last_batch_is_named_from_line_to_line(killed: Ledger) -> None:
    content = killed.whole.replace(b",3,7.50", b",2,7.50")
    killed.assert_refused(content, r"orders\.csv, lines 2 to 5: damaged: wrong seal")


# What a mark tells.


def test_a_ledger_cut_anywhere_after_a_stop_is_refused(stopped: Ledger) -> None:
    for size in range(stopped.ends[0], len(stopped.whole)):
        stopped.assert_refused(
            stopped.whole[:size], r"orders are missing: the store had 4 in \d+ bytes"
        )


def test_another_ledger_in_its_place_is_refused(stopped: Ledger, tmp_path: Path) -> None:
    other = Opened(f"csv:{tmp_path}/other")
    for _ in range(3):
        sell(other)
    other.store.close()
    content = (tmp_path / "other" / "orders.csv").read_bytes()
    assert len(content) > len(stopped.whole)
    stopped.assert_starts(stopped.whole, 4)
    changed = content.replace(b"user2", b"user3")
    stopped.assert_refused(changed, r"orders\.csv, lines 2 to 5: damaged: wrong seal")


def test_a_ledger_of_other_batches_is_refused(stopped: Ledger, tmp_path: Path) -> None:
    other = Opened(f"csv:{tmp_path}/other")
    for _ in range(8):
        other.commit(other.order((PUCK, 1)))
    other.store.close()
    content = (tmp_path / "other" / "orders.csv").read_bytes()
    stopped.assert_refused(content, r"its first \d+ bytes are not the 4 orders that the store had")


def test_a_mark_that_is_removed_is_made_again(stopped: Ledger) -> None:
    (stopped.folder / MARK).unlink()
    stopped.assert_starts(stopped.whole[: stopped.ends[2]], 3)
    stopped.assert_starts(stopped.whole, 4)
    stopped.assert_refused(stopped.whole[: stopped.ends[2]], "orders are missing")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"orders":1}', b"\0" * 60, b"\xff"])
def test_a_damaged_mark_is_refused(content: bytes, stopped: Ledger) -> None:
    mark = (stopped.folder / MARK).read_bytes()
    (stopped.folder / MARK).write_bytes(content)
    stopped.assert_refused(stopped.whole, r"ledger\.mark: damaged: remove it if you are sure")
    (stopped.folder / MARK).write_bytes(mark)


def test_a_killed_shop_has_a_mark_of_so_many_orders_ago(
    opened: Opened, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_mark, "EVERY_ORDERS", 3)
    for _ in range(8):
        opened.commit(opened.order((PUCK, 1)))
    mark = (folder / MARK).read_bytes()
    assert b'"orders":           6,' in mark
    opened.reopen()
    assert len((folder / MARK).read_bytes()) == len(mark)
