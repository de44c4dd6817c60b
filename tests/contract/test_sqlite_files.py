"""The files of a SQLite store: whose they are, what is left of them, and what happened to them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sportshop.storage import open_store, open_users, sqlite_file, sqlite_schema
from sportshop.storage.interface import StorageFailed, StoreError, StoreLocked
from sportshop.users import NewUser
from tests.catalogues import CHEAP_HASH, SMALL
from tests.contract.conftest import Opened

PUCK = "Bola de Vôlei"


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    opened = Opened(f"sqlite:{tmp_path}/a/shop.db")
    opened.commit(opened.order(("Ball", 1), key="k"))
    yield opened
    opened.store.close()


def refusal(path: Path) -> str:
    """Open a store, which must be refused in one line; return that."""
    with pytest.raises(StoreError) as refused:
        open_store(f"sqlite:{path}", lambda: SMALL)
    said = str(refused.value)
    assert said.startswith(f"store sqlite:{path}"), said
    assert "\n" not in said
    return said


def killed(opened: Opened, folder: Path) -> Path:
    """Put what a killed shop leaves of the store into a folder."""
    source = Path(opened.url.removeprefix("sqlite:"))
    for suffix in ("", "-wal", "-shm", ".lock"):
        shutil.copy(f"{source}{suffix}", folder)
    return folder / source.name


# One server a store, whatever it is called.


def hard_link(shop: Path, other: Path) -> None:
    other.hardlink_to(shop)


def symbolic_link(shop: Path, other: Path) -> None:
    other.symlink_to(shop)


def link_of_a_link(shop: Path, other: Path) -> None:
    other.with_name("middle.db").symlink_to(shop)
    other.symlink_to("middle.db")


def linked_folder(shop: Path, other: Path) -> None:
    other.parent.rmdir()
    other.parent.symlink_to(shop.parent)


@pytest.mark.parametrize("link", [hard_link, symbolic_link, link_of_a_link, linked_folder])
def test_a_store_is_locked_by_every_other_name(link, opened: Opened, tmp_path: Path) -> None:
    other = tmp_path / "b" / "shop.db"
    link(tmp_path / "a" / "shop.db", other)
    with pytest.raises(StoreLocked, match="open in another process"):
        open_store(f"sqlite:{other}", lambda: SMALL)
    with pytest.raises(StoreLocked, match="open in another process"):
        open_store(f"sqlite:{tmp_path}/b/../a/./shop.db", lambda: SMALL)
    open_one = "import sys; from sportshop.storage import open_store; open_store(sys.argv[1], dict)"
    ended = subprocess.run(
        [sys.executable, "-c", open_one, f"sqlite:{other}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "StoreLocked" in ended.stderr
    opened.commit(opened.order(("Ball", 1)))
    opened.reopen()
    assert opened.stock()["Ball"] == 8


def test_the_second_name_of_a_store_opens_it_after_a_stop(opened: Opened, tmp_path: Path) -> None:
    other = tmp_path / "b" / "shop.db"
    hard_link(tmp_path / "a" / "shop.db", other)
    opened.store.close()
    second = Opened(f"sqlite:{other}")
    second.commit(second.order(("Ball", 1)))
    second.store.close()
    opened.open()
    assert opened.stock()["Ball"] == 8


SELL_AND_DIE = """
import os, sys
from tests.contract.conftest import Opened
opened = Opened(sys.argv[1])
opened.commit(opened.order(("Ball", 2), key="later"))
os._exit(0)
"""


@pytest.mark.parametrize("before", [[], ["a stop"]])
def test_a_log_under_another_name_is_not_left_behind(before: list[str], tmp_path: Path) -> None:
    """After a crash the orders are in shop.db-wal, which other.db does not lead to."""
    shop, other = tmp_path / "shop.db", tmp_path / "other.db"
    for _ in before:
        Opened(f"sqlite:{shop}").store.close()
    subprocess.run([sys.executable, "-c", SELL_AND_DIE, f"sqlite:{shop}"], check=True)
    hard_link(shop, other)
    assert f"the shop was last open as {shop}" in refusal(other)
    with pytest.raises(StoreError, match="was last open as"), open_users(f"sqlite:{other}", dict):
        pass
    again = Opened(f"sqlite:{shop}")
    assert [receipt.key for receipt in again.history()] == ["later"]
    again.store.close()
    Opened(f"sqlite:{other}").store.close()


def test_a_database_that_was_moved_without_its_log_is_refused(tmp_path: Path) -> None:
    shop, moved = tmp_path / "shop.db", tmp_path / "moved.db"
    subprocess.run([sys.executable, "-c", SELL_AND_DIE, f"sqlite:{shop}"], check=True)
    shop.rename(moved)
    assert "put that file beside this one" in refusal(moved)
    Path(f"{shop}-wal").rename(f"{moved}-wal")
    again = Opened(f"sqlite:{moved}")
    assert [receipt.key for receipt in again.history()] == ["later"]
    again.store.close()


def test_users_are_not_added_by_a_hard_link_beside_a_shop(opened: Opened, tmp_path: Path) -> None:
    """Its log is not seen by that name, and the database would be damaged."""
    other = tmp_path / "b" / "shop.db"
    hard_link(tmp_path / "a" / "shop.db", other)
    add = (
        "import sys; from sportshop.storage import open_users\n"
        "with open_users(sys.argv[1], dict) as users: users.find('x')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", add, f"sqlite:{other}"], capture_output=True, text=True, check=False
    )
    assert "StoreLocked" in ended.stderr
    assert {path.name for path in other.parent.iterdir()} == {"shop.db", "shop.db.lock"}


def test_users_are_added_by_another_name_as_well(opened: Opened, tmp_path: Path) -> None:
    symbolic_link(tmp_path / "a" / "shop.db", tmp_path / "b" / "shop.db")
    with open_users(f"sqlite:{tmp_path}/b/shop.db", dict) as users:
        users.add([NewUser("new", CHEAP_HASH)])
    assert opened.user("new").name == "new"


def test_a_link_that_leads_nowhere_yet_is_filled_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "shop.db").symlink_to("real.db")
    open_store(f"sqlite:{tmp_path}/shop.db", lambda: SMALL).close()
    assert (tmp_path / "real.db").stat().st_size > 0
    assert (tmp_path / "shop.db").is_symlink()


# What is left of a store is not filled over.


@pytest.mark.parametrize("left", [["-wal"], ["-shm"], ["-journal"], ["-wal", "-shm"]])
@pytest.mark.parametrize("size", [None, 0])
def test_remains_of_a_store_are_refused_and_left_alone(
    left: list[str], size: int | None, opened: Opened, tmp_path: Path
) -> None:
    shop = killed(opened, tmp_path / "b")
    for suffix in {"-wal", "-shm"} - set(left):
        Path(f"{shop}{suffix}").unlink()
    Path(f"{shop}{left[0]}").touch()
    if size is None:
        shop.unlink()
    else:
        os.truncate(shop, 0)
    before = {path.name: path.read_bytes() for path in shop.parent.iterdir()}
    said = refusal(shop)
    assert ("is missing" if size is None else "is empty") in said
    with (
        pytest.raises(StoreError, match=r"is missing|is empty"),
        open_users(f"sqlite:{shop}", dict),
    ):
        pass
    assert {path.name: path.read_bytes() for path in shop.parent.iterdir()} == before


@pytest.mark.parametrize("size", [0, 1, 100, 4_096, 8_192])
def test_a_store_that_was_cut_is_refused(size: int, opened: Opened, tmp_path: Path) -> None:
    opened.store.close()
    os.truncate(tmp_path / "a" / "shop.db", size)
    refusal(tmp_path / "a" / "shop.db")
    shutil.copy(tmp_path / "a" / "shop.db", tmp_path / "b")
    if size:
        refusal(tmp_path / "b" / "shop.db")
    (tmp_path / "a" / "shop.db").unlink()
    opened.store = open_store(opened.url, lambda: SMALL)


def test_where_only_the_lock_is_left_a_store_is_filled(opened: Opened, tmp_path: Path) -> None:
    opened.store.close()
    (tmp_path / "a" / "shop.db").unlink()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["shop.db.lock"]
    opened.store = open_store(opened.url, lambda: SMALL)
    assert opened.stock()["Ball"] == 10


def test_an_empty_file_of_nobody_is_filled(tmp_path: Path) -> None:
    (tmp_path / "shop.db").touch()
    open_store(f"sqlite:{tmp_path}/shop.db", lambda: SMALL).close()


class Killed(BaseException):
    """As kill -9 does: nothing is put right on the way out."""


@pytest.mark.parametrize("leaves", ["nothing", "half of it", "all of it"])
def test_a_first_start_that_is_killed_is_done_again(
    leaves: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill = sqlite_schema._fill_alone

    def killed_in(path: Path, catalogue: object) -> None:
        if leaves != "nothing":
            fill(path, SMALL)
        if leaves == "half of it":
            os.truncate(path, 5_000)
        shutil.copy(path, tmp_path / "kept")
        raise Killed

    monkeypatch.setattr(sqlite_schema, "_fill_alone", killed_in)
    with pytest.raises(Killed):
        open_store(f"sqlite:{tmp_path}/shop.db", lambda: SMALL)
    (tmp_path / "kept").rename(tmp_path / "shop.db.new")
    monkeypatch.undo()
    store = open_store(f"sqlite:{tmp_path}/shop.db", lambda: SMALL)
    assert len(store.products.snapshot().products) == 3
    assert not (tmp_path / "shop.db.new").exists()
    store.close()


# Closed to other users.


@pytest.fixture
def loose_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


@pytest.mark.usefixtures("loose_umask")
@pytest.mark.parametrize("mode", [None, 0o644, 0o660, 0o666])
def test_only_the_owner_may_read_any_file_of_a_store(
    mode: int | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened = Opened(f"sqlite:{tmp_path}/shop.db")
    if mode is not None:
        opened.store.close()
        (tmp_path / "shop.db").chmod(mode)
        opened.open()
        assert "other users could read the store" in caplog.text
    assert modes(tmp_path) == dict.fromkeys(
        ("shop.db", "shop.db-wal", "shop.db-shm", "shop.db.lock"), 0o600
    )
    opened.store.close()


@pytest.mark.usefixtures("loose_umask")
def test_a_store_made_for_its_first_user_is_closed_to_others_as_well(tmp_path: Path) -> None:
    with open_users(f"sqlite:{tmp_path}/shop.db", lambda: SMALL) as users:
        users.add([NewUser("new", CHEAP_HASH)])
    assert set(modes(tmp_path).values()) == {0o600}


# A store that vanishes.


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
@pytest.mark.parametrize("how", ["removed", "moved away", "replaced"])
def test_a_file_that_vanishes_is_noticed(
    suffix: str, how: str, opened: Opened, tmp_path: Path
) -> None:
    opened.store.check_is_there()
    path = tmp_path / "a" / f"shop.db{suffix}"
    if how == "removed":
        path.unlink()
    elif how == "moved away":
        path.rename(path.with_name("away"))
    else:
        shutil.copy(path, tmp_path / "copy")
        (tmp_path / "copy").replace(path)
    with pytest.raises(StorageFailed, match=r"is gone|no longer the file"):
        opened.store.check_is_there()


@pytest.mark.parametrize("left", [0, 1, 511])
def test_a_database_that_is_cut_off_in_place_is_noticed(
    left: int, opened: Opened, tmp_path: Path
) -> None:
    opened.store.check_is_there()
    os.truncate(tmp_path / "a" / "shop.db", left)
    with pytest.raises(StorageFailed, match="was emptied"):
        opened.store.check_is_there()


def test_a_link_that_leads_elsewhere_now_is_noticed(opened: Opened, tmp_path: Path) -> None:
    opened.store.close()
    link = tmp_path / "shop.db"
    link.symlink_to("a/shop.db")
    store = open_store(f"sqlite:{link}", dict)
    store.check_is_there()
    shutil.copy(tmp_path / "a" / "shop.db", tmp_path / "b")
    link.unlink()
    link.symlink_to("b/shop.db")
    with pytest.raises(StorageFailed, match="no longer the file"):
        store.check_is_there()
    store.close()
    opened.open()


# It is closed whatever happens.


def test_closing_never_raises_and_closes_every_file(tmp_path: Path) -> None:
    opened = Opened(f"sqlite:{tmp_path}/shop.db")
    opened.commit(opened.order((PUCK, 1), key="k"))
    opened.store.orders.index._as_of = "nonsense"  # type: ignore[attr-defined]
    opened.store.writer.close()  # type: ignore[attr-defined]
    opened.store.close()
    links = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
    targets = [os.readlink(link) for link in links if link.is_symlink()]  # noqa: PTH115
    assert [target for target in targets if str(tmp_path) in target] == []
    assert sqlite_file._identity(tmp_path / "shop.db") not in sqlite_file._open_here
    opened.open()
    assert [receipt.key for receipt in opened.history()] == ["k"]
    opened.store.close()


def test_a_database_that_is_emptied_while_the_shop_runs_is_noticed(tmp_path: Path) -> None:
    """The file is the same, so its name and inode tell nothing."""
    opened = Opened(f"sqlite:{tmp_path}/shop.db")
    opened.store.check_is_there()
    os.truncate(tmp_path / "shop.db", 0)
    with pytest.raises(StorageFailed, match=r"shop\.db was emptied"):
        opened.store.check_is_there()
    opened.store.close()
