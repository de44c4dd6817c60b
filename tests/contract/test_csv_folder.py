"""The CSV store's folder: when it is filled, who may open it, and what a full disk leaves of it."""

import logging
import os
import resource
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import combinations
from pathlib import Path

import pytest

from sportshop.orders import Accepted
from sportshop.storage import csv_files, open_store
from sportshop.storage.interface import StorageFailed, Store, StoreError, StoreFull, StoreLocked
from sportshop.users import NewUser
from tests.catalogues import CHEAP_HASH, SMALL
from tests.contract.conftest import Opened

FILES = ("orders.csv", "products.csv", "store.json", "users.csv")
DISK_BYTES = 256 * 1024


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "shop"


@pytest.fixture
def opened(folder: Path) -> Iterator[Opened]:
    opened = Opened(f"csv:{folder}")
    opened.commit(opened.order(("Ball", 1), key="k"))
    yield opened
    opened.store.close()


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def refusal(folder: Path) -> str:
    """Hold the store to be refused in one line, and left as it was; return the line."""
    before = contents(folder)
    with pytest.raises(StoreError) as refused:
        open_store(f"csv:{folder}", lambda: SMALL)
    after = contents(folder)
    after.pop("lock", None)
    before.pop("lock", None)
    assert after == before
    assert "\n" not in str(refused.value)
    return str(refused.value)


# Filling.


@pytest.mark.parametrize(
    "missing", [some for size in (1, 2, 3) for some in combinations(FILES, size)], ids="+".join
)
def test_a_store_that_has_lost_files_is_not_filled_anew(
    missing: tuple[str, ...], opened: Opened, folder: Path, tmp_path: Path
) -> None:
    opened.store.close()
    kept = Path(shutil.copytree(folder, tmp_path / "kept"))
    for name in missing:
        (folder / name).unlink()
    said = refusal(folder)
    assert "store.json" in said if "store.json" in missing else missing[0] in said
    (folder / "lock").unlink()
    assert str(folder) in refusal(folder)
    shutil.copytree(kept, folder, dirs_exist_ok=True)
    opened.open()


@pytest.mark.parametrize("name", FILES)
def test_a_store_with_an_empty_file_is_refused(name: str, opened: Opened, folder: Path) -> None:
    opened.store.close()
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(b"")
    assert f"{folder}/{name}" in refusal(folder)
    (folder / name).write_bytes(content)
    opened.open()


@pytest.mark.parametrize("name", ["torn-after-order-3.csv", "ledger.mark", "orders.csv"])
def test_a_single_remainder_keeps_a_folder_from_being_filled(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    assert name in refusal(tmp_path)
    (tmp_path / "lock").touch()
    assert f"store.json is missing beside {name}" in refusal(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["lost+found", ".DS_Store", "Thumbs.db", ".nfs0001", ".Trash-0", ".users.csv.new", "lock"],
)
def test_what_a_volume_has_by_itself_does_not_keep_it_from_being_filled(
    name: str, tmp_path: Path
) -> None:
    if name == "lost+found":
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).touch()
    opened = Opened(f"csv:{tmp_path}")
    assert opened.store.contents["products"] == 3
    opened.store.close()


class Cut(BaseException):
    """The process ends."""


def test_a_filling_cut_short_anywhere_is_done_again_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync
    stores: list[Store] = []
    for cut in range(20):
        left = [cut]

        def sync(descriptor: int, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Cut
            fsync(descriptor)

        shutil.rmtree(folder, ignore_errors=True)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", sync)
            with suppress(Cut):
                stores.append(open_store(f"csv:{folder}", lambda: SMALL))
        if stores:
            stores.pop().close()
            break
        store = open_store(f"csv:{folder}", lambda: SMALL)
        assert store.contents["users"] == 5
        assert not (folder / "filling").exists()
        store.close()
    assert 7 < cut < 19


def test_a_filling_is_not_done_again_over_orders(opened: Opened, folder: Path) -> None:
    opened.store.close()
    content = (folder / "store.json").read_bytes()
    (folder / "store.json").unlink()
    (folder / "ledger.mark").unlink()
    (folder / "filling").touch()
    assert "store.json is missing beside orders.csv, products.csv, users.csv" in refusal(folder)
    (folder / "store.json").write_bytes(content)
    opened.open()


# Locks.


@pytest.mark.parametrize("link", [os.link, os.symlink], ids=["hard link", "symbolic link"])
def test_one_ledger_in_two_folders_is_open_once(
    link: Callable[[Path, Path], None], opened: Opened, folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    Opened(f"csv:{other}").store.close()
    (other / "orders.csv").unlink()
    (other / "ledger.mark").unlink()
    link(folder / "orders.csv", other / "orders.csv")
    with pytest.raises(StoreLocked, match=f"csv:{other} is open in another process"):
        open_store(f"csv:{other}", lambda: SMALL)
    opened.store.close()
    both = Opened(f"csv:{other}")
    both.commit(both.order(("Ball", 1)))
    with pytest.raises(StoreLocked, match="is open in another process"):
        opened.open()
    both.store.close()
    opened.open()
    assert opened.stock()["Ball"] == 8


def test_a_folder_is_open_once_by_whatever_path(
    opened: Opened, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(folder)
    (folder / "lock").unlink()
    for path in (folder, tmp_path / "link", folder / ".." / "shop"):
        with pytest.raises(StoreLocked, match="is open in another process"):
            open_store(f"csv:{path}", lambda: SMALL)
    opened.commit(opened.order(("Ball", 1)))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_ledger_that_is_no_file_is_refused(
    make: Callable[[Path], None], opened: Opened, folder: Path, tmp_path: Path
) -> None:
    opened.store.close()
    (folder / "orders.csv").rename(tmp_path / "kept")
    make(folder / "orders.csv")
    with pytest.raises(StoreError, match=r"orders\.csv: (not a file|Is a directory)"):
        open_store(opened.url, lambda: SMALL)
    (folder / "orders.csv").rename(tmp_path / "other")
    (tmp_path / "kept").rename(folder / "orders.csv")
    opened.open()


# Rights.


def test_nobody_else_can_read_a_store(folder: Path) -> None:
    mask = os.umask(0)
    try:
        opened = Opened(f"csv:{folder}")
        opened.store.users.add([NewUser("new", CHEAP_HASH)])
        opened.store.close()
    finally:
        os.umask(mask)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {p.name: stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()} == dict.fromkeys(
        [*FILES, "ledger.mark", "lock"], 0o600
    )


def test_files_that_others_could_read_are_theirs_no_more(
    opened: Opened, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened.store.close()
    (folder / "torn-after-order-0.csv").write_bytes(b"1,")
    for path in folder.iterdir():
        path.chmod(0o644)
    opened.open()
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    told = [vars(record)["facts"]["file"] for record in caplog.records]
    assert sorted(told) == sorted(str(path) for path in folder.iterdir())


# A store that vanishes.

VANISHES: dict[str, Callable[[Path], object]] = {
    "ledger removed": lambda folder: (folder / "orders.csv").unlink(),
    "ledger renamed": lambda folder: (folder / "orders.csv").rename(folder / "old.csv"),
    "ledger replaced": lambda folder: (
        shutil.copy(folder / "orders.csv", folder / "x")
        and (folder / "x").replace(folder / "orders.csv")
    ),
    "ledger cut": lambda folder: os.truncate(folder / "orders.csv", 80),
    "folder removed": shutil.rmtree,
    "folder renamed": lambda folder: folder.rename(folder.with_name("old")),
}


@pytest.mark.parametrize("how", VANISHES)
def test_a_store_that_vanishes_is_noticed(how: str, folder: Path) -> None:
    opened = Opened(f"csv:{folder}")
    opened.commit(opened.order(("Ball", 1)))
    opened.store.check_is_there()
    VANISHES[how](folder)
    with pytest.raises(StorageFailed, match=r"orders\.csv: "):
        opened.store.check_is_there()
    opened.store.close()


def test_a_ledger_that_is_changed_under_the_shop_fails_its_readers_and_no_more(
    opened: Opened, folder: Path
) -> None:
    for content in (b"\xff" * 300, b'"' * 300, b",,,,,,,,\n" * 40, b"\n" * 300, b"x,y\n" * 90):
        with (folder / "orders.csv").open("r+b") as file:
            whole = file.read()
            file.seek(0)
            file.write(content[: len(whole)])
            file.flush()
            with pytest.raises(StorageFailed, match=r"orders\.csv, order 1: "):
                opened.history()
            with pytest.raises(StorageFailed, match=r"orders\.csv, order 1: "):
                opened.commit(opened.order(("Ball", 1), key="k"))
            file.seek(0)
            file.write(whole)


# A full disk.


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Fill the disk up, to the last byte."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (4096, 512, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    yield
    ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def sell_until_full(opened: Opened) -> int:
    """Sell until there is no room; return how many orders were taken in all."""
    for n in range(100):
        try:
            opened.commit(*(opened.order(("Bola de Vôlei", 1), key=f"{n}-{i}") for i in range(90)))
        except StoreFull:
            return opened.store.orders.count()
    raise AssertionError("the disk does not fill up")


def test_a_batch_without_room_is_not_kept_and_the_next_with_room_is(disk: Path) -> None:
    opened = Opened(f"csv:{disk}/shop")
    with full(disk):
        sold = sell_until_full(opened)
        size = (disk / "shop" / "orders.csv").stat().st_size
        with pytest.raises(StoreFull, match=r"orders\.csv: No space left on device"):
            opened.commit(*(opened.order(("Bola de Vôlei", 1)) for _ in range(900)))
        assert (disk / "shop" / "orders.csv").stat().st_size == size
        assert opened.store.orders.count() == sold
    opened.commit(opened.order(("Ball", 1), key="again"))
    opened.reopen()
    assert opened.stock() == {"Ball": 9, 'Boots, "Pro"': 3, "Bola de Vôlei": 1_000_000 - sold}
    assert opened.history(limit=1)[0].key == "again"
    opened.store.close()


def test_a_shop_starts_on_a_full_disk_and_sells_once_there_is_room(
    disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened = Opened(f"csv:{disk}/shop")
    opened.commit(opened.order(("Bola de Vôlei", 100), key="k"))
    products = (disk / "shop" / "products.csv").read_bytes()
    with full(disk):
        sell_until_full(opened)
        sold = opened.store.orders.count() - 1
        opened.store.close()
        assert (disk / "shop" / "products.csv").read_bytes() == products
        opened.open()
        (warning,) = [r for r in caplog.records if r.levelno == logging.WARNING]
        assert warning.getMessage() == "the disk is full: no orders until there is room"
        assert opened.stock()["Bola de Vôlei"] == 1_000_000 - 100 - sold
        (replay,) = opened.commit(opened.order(("Bola de Vôlei", 100), key="k"))
        assert isinstance(replay, Accepted)
        assert replay.replayed
        with pytest.raises(StoreFull):
            opened.commit(*(opened.order(("Bola de Vôlei", 1)) for _ in range(900)))
        users = (disk / "shop" / "users.csv").read_bytes()
        with pytest.raises(StoreError, match=r"users\.csv: No space left .*: nothing was added"):
            opened.store.users.add([NewUser(f"new{i}", CHEAP_HASH) for i in range(90)])
        assert opened.store.users.find("new1") is None
        assert (disk / "shop" / "users.csv").read_bytes() == users
        assert not list((disk / "shop").glob(".*"))
    opened.commit(opened.order(("Ball", 1)))
    opened.reopen()
    assert opened.stock()["Ball"] == 9
    opened.store.close()


def test_a_torn_batch_that_finds_no_room_elsewhere_is_kept_until_it_does(disk: Path) -> None:
    opened = Opened(f"csv:{disk}/shop")
    opened.commit(opened.order(("Ball", 1), key="k"))
    opened.store.close()
    ledger = disk / "shop" / "orders.csv"
    whole = ledger.read_bytes()
    torn = b"2,2023-11-14T22:13:20.123Z,user1,,Ball,"
    ledger.write_bytes(whole + torn)
    with full(disk):
        opened.open()
        (replay,) = opened.commit(opened.order(("Ball", 1), key="k"))
        assert isinstance(replay, Accepted)
        for _ in range(2):
            with pytest.raises(StoreFull, match="finds no room elsewhere"):
                opened.commit(opened.order(("Ball", 1)))
            assert ledger.read_bytes() == whole + torn
    opened.commit(opened.order(("Ball", 1)))
    assert (disk / "shop" / "torn-after-order-1.csv").read_bytes() == torn
    opened.reopen()
    assert opened.stock()["Ball"] == 8
    opened.store.close()


def test_a_file_that_may_not_grow_is_a_full_disk(opened: Opened, folder: Path) -> None:
    """EFBIG; a quota's EDQUOT comes the same way."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (folder / "orders.csv").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, hard))
    try:
        with pytest.raises(StoreFull, match=r"orders\.csv: File too large"):
            opened.commit(opened.order(("Ball", 1)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (folder / "orders.csv").stat().st_size == size
    opened.commit(opened.order(("Ball", 1)))
    opened.reopen()
    assert opened.stock()["Ball"] == 8


def test_a_sync_that_fails_leaves_a_batch_in_doubt(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sportshop.storage.csv_ledger.sync", fails)
    with pytest.raises(StorageFailed, match=r"orders\.csv: No space left on device"):
        opened.commit(opened.order(("Ball", 1)))


def test_a_platform_without_fdatasync_has_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fdatasync")
    source = Path(csv_files.__file__).read_text(encoding="utf-8")
    (line,) = [line for line in source.splitlines() if line.startswith("sync = ")]
    assert eval(line.removeprefix("sync = ").partition("  #")[0]) is os.fsync  # noqa: S307


@pytest.mark.parametrize("key", ["", "00", "ab" * 31, "ab" * 33, "xy" * 32])
def test_a_key_that_anybody_could_guess_is_refused(key: str, tmp_path: Path) -> None:
    """With a cut store.json all could make tokens that let them in as anybody."""
    opened = Opened(f"csv:{tmp_path}/shop")
    whole = opened.store.token_key.hex()
    opened.store.close()
    path = tmp_path / "shop" / "store.json"
    path.write_text(path.read_text("utf-8").replace(whole, key), "utf-8")
    with pytest.raises(StoreError, match=r"store\.json: "):
        open_store(opened.url, dict)
