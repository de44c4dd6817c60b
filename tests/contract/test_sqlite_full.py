"""A file system without room: the SQLite store starts, answers, and sells once there is room."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import apsw
import pytest

from sportshop.orders import Accepted, InsufficientStock
from sportshop.storage import open_store, open_users, sqlite_query
from sportshop.storage.interface import StorageFailed, StoreBusy, StoreError, StoreFull
from sportshop.users import NewUser
from tests.catalogues import CHEAP_HASH, SMALL
from tests.contract.conftest import Opened


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, check=False).returncode:
        pytest.skip("only root may mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> None:
    filler = os.open(disk / "filler", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with suppress(OSError):
        while os.write(filler, bytes(4096)):
            pass
    os.close(filler)
    assert os.statvfs(disk).f_bavail == 0


def make_room(disk: Path) -> None:
    (disk / "filler").unlink()


def assert_reads_and_refuses(opened: Opened) -> None:
    """Everything but a sale is answered; a sale is refused for certain."""
    assert [receipt.key for receipt in opened.history()] == ["early"]
    replay, refused = opened.commit(
        opened.order(("Ball", 2), key="early"), opened.order(("Ball", 99))
    )
    assert isinstance(replay, Accepted)
    assert replay.replayed
    assert isinstance(refused, InsufficientStock)
    for _ in range(2):
        with pytest.raises(StoreFull):
            opened.commit(opened.order(("Ball", 1), key="late"))
    assert opened.store.products.snapshot().as_of == 1


def assert_sells(opened: Opened) -> None:
    (sold,) = opened.commit(opened.order(("Ball", 1), key="late"))
    assert isinstance(sold, Accepted)
    assert (sold.receipt.position, sold.replayed) == (2, False)
    opened.store.check_is_there()
    opened.reopen()
    assert [receipt.key for receipt in opened.history()] == ["late", "early"]
    assert opened.stock()["Ball"] == 7
    opened.store.close()


def test_a_disk_that_fills_up_refuses_orders_until_there_is_room(small_disk: Path) -> None:
    opened = Opened(f"sqlite:{small_disk}/shop.db")
    opened.commit(opened.order(("Ball", 2), key="early"))
    fill(small_disk)
    assert_reads_and_refuses(opened)
    make_room(small_disk)
    assert_sells(opened)


@pytest.mark.parametrize("left", [0, 4_096, 36_000, 60_000])
def test_a_store_that_was_stopped_starts_on_a_full_disk(
    left: int, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened = Opened(f"sqlite:{small_disk}/shop.db")
    opened.commit(opened.order(("Ball", 2), key="early"))
    opened.store.close()
    (small_disk / "reserve").write_bytes(bytes(left))
    fill(small_disk)
    (small_disk / "reserve").unlink()
    opened.open()
    if left < 40_000:  # for the log's index, and not for a log
        assert "no room on the disk" in caplog.text
        assert_reads_and_refuses(opened)
    make_room(small_disk)
    assert_sells(opened)


def kill_and_fill(small_disk: Path, tmp_path: Path, suffixes: Sequence[str]) -> Opened:
    """Open on a full disk what a shop leaves that was killed."""
    running = Opened(f"sqlite:{tmp_path}/shop.db")
    running.commit(running.order(("Ball", 2), key="early"))
    for suffix in suffixes:
        shutil.copy(f"{tmp_path}/shop.db{suffix}", small_disk)
    running.store.close()
    fill(small_disk)
    return Opened(f"sqlite:{small_disk}/shop.db")


def test_a_store_that_was_killed_starts_on_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    opened = kill_and_fill(small_disk, tmp_path, ["", "-wal"])
    assert_reads_and_refuses(opened)
    opened.reopen()  # a stop on a full disk is a stop, too
    assert_reads_and_refuses(opened)
    make_room(small_disk)
    assert_sells(opened)


def test_a_store_that_was_killed_sells_into_the_room_that_its_log_has(
    small_disk: Path, tmp_path: Path
) -> None:
    opened = kill_and_fill(small_disk, tmp_path, ["", "-wal", "-shm"])
    assert [receipt.key for receipt in opened.history()] == ["early"]
    sold = 1
    with suppress(StoreFull):
        while sold < 1_000:
            opened.commit(opened.order(("Bola de Vôlei", 1)))
            sold += 1
    assert sold < 1_000
    assert opened.store.products.snapshot().as_of == len(opened.history()) == sold
    make_room(small_disk)
    opened.commit(opened.order(("Ball", 1), key="late"))
    opened.reopen()
    assert len(opened.history()) == sold + 1
    opened.store.close()


def test_a_new_store_on_a_full_disk_is_refused_and_made_when_there_is_room(
    small_disk: Path,
) -> None:
    url = f"sqlite:{small_disk}/shop.db"
    (small_disk / "shop.db.lock").touch()
    fill(small_disk)
    with pytest.raises(StoreError, match=r"full|No space left"):
        open_store(url, lambda: SMALL)
    assert {path.name for path in small_disk.iterdir()} == {"filler", "shop.db.lock"}
    make_room(small_disk)
    open_store(url, lambda: SMALL).close()


def test_users_added_on_a_full_disk_are_refused_in_one_line(small_disk: Path) -> None:
    opened = Opened(f"sqlite:{small_disk}/shop.db")
    opened.store.close()
    fill(small_disk)
    new = [NewUser("new", CHEAP_HASH)]
    with pytest.raises(StoreError, match=r"no room|full"), open_users(opened.url, dict) as users:
        users.add(new)
    make_room(small_disk)
    with open_users(opened.url, dict) as users:
        assert users.add(new) == 1


class Failing:
    """A connection whose last statement failed, as far as the store can tell."""

    in_transaction = False

    def __init__(self, system_errno: int) -> None:
        self.system_errno = system_errno


def sqlite_error(kind: type[apsw.Error], code: int) -> apsw.Error:
    problem = kind("failed")
    problem.extendedresult = code  # type: ignore[attr-defined]
    return problem


@pytest.mark.parametrize(
    ("problem", "number", "means"),
    [
        (sqlite_error(apsw.FullError, apsw.SQLITE_FULL), errno.ENOSPC, StoreFull),
        (sqlite_error(apsw.IOError, apsw.SQLITE_IOERR_WRITE), errno.EDQUOT, StoreFull),
        (sqlite_error(apsw.IOError, apsw.SQLITE_IOERR_WRITE), errno.EFBIG, StoreFull),
        (sqlite_error(apsw.IOError, apsw.SQLITE_IOERR_WRITE), errno.EIO, StorageFailed),
        (sqlite_error(apsw.IOError, apsw.SQLITE_IOERR_FSYNC), errno.ENOSPC, StorageFailed),
        (sqlite_error(apsw.IOError, apsw.SQLITE_IOERR_FSYNC), errno.EDQUOT, StorageFailed),
        (sqlite_error(apsw.IOError, apsw.SQLITE_IOERR_SHMSIZE), errno.ENOSPC, StorageFailed),
        (sqlite_error(apsw.CorruptError, apsw.SQLITE_CORRUPT), errno.ENOSPC, StorageFailed),
        (sqlite_error(apsw.BusyError, apsw.SQLITE_BUSY), 0, StoreBusy),
        (sqlite_error(apsw.BusyError, apsw.SQLITE_BUSY_SNAPSHOT), 0, StoreBusy),
        (sqlite_error(apsw.BusyError, apsw.SQLITE_BUSY_RECOVERY), 0, StoreBusy),
        (sqlite_error(apsw.LockedError, apsw.SQLITE_LOCKED), 0, StoreBusy),
    ],
    ids=str,
)
def test_only_a_write_that_found_no_room_is_certain_to_have_kept_nothing(
    problem: apsw.Error, number: int, means: type[Exception]
) -> None:
    connection: apsw.Connection = Failing(number)  # type: ignore[assignment]
    assert type(sqlite_query.write_failure(problem, connection)) is means
