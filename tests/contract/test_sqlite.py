"""What only the SQLite store promises.

Another connection of this process has to be APSW's as well: file locks don't tell two SQLite
libraries in one process apart, and the one that closes first drops the other's.
"""

import ast
import errno
import fcntl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from sportshop.orders import Accepted, OrderKeyReused
from sportshop.storage import open_store, open_users, sqlite_index, sqlite_read
from sportshop.storage.interface import StorageFailed, StoreBusy, StoreError
from sportshop.users import NewUser, UserExists
from tests.catalogues import CHEAP_HASH, SMALL
from tests.contract.conftest import Opened


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    opened = Opened(f"sqlite:{tmp_path}/shop.db")
    yield opened
    opened.store.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


def test_the_file_can_be_read_while_the_store_is_open(opened: Opened, file: Path) -> None:
    opened.commit(opened.order(("Ball", 2), ('Boots, "Pro"', 1), key="k"))
    read = (
        "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchall())"
    )
    command = [sys.executable, "-c", read, file, "SELECT * FROM orders"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert ast.literal_eval(printed) == [
        (1, 1, "2023-11-14T22:13:20.123Z", "user1", "k", "Ball", 2, 149.9, 8),
        (1, 2, "2023-11-14T22:13:20.123Z", "user1", "k", 'Boots, "Pro"', 1, 899.0, 2),
    ]


def test_it_syncs_every_commit_to_a_write_ahead_log(opened: Opened) -> None:
    writer = opened.store.writer  # type: ignore[attr-defined]
    assert writer.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
    assert writer.execute("PRAGMA synchronous").fetchall() == [(2,)]  # FULL
    assert tuple(map(int, apsw.sqlite_lib_version().split("."))) >= (3, 51, 3)


def test_the_database_itself_refuses_negative_stock(opened: Opened) -> None:
    writer = opened.store.writer  # type: ignore[attr-defined]
    with pytest.raises(apsw.ConstraintError, match="CHECK"):
        writer.execute("UPDATE products SET stock = -1 WHERE name = 'Ball'")
    with pytest.raises(apsw.ConstraintError, match="cannot store TEXT"):
        writer.execute("UPDATE products SET stock = 'many'")


def test_stock_is_read_in_the_transaction(opened: Opened, file: Path) -> None:
    other = apsw.Connection(str(file))
    other.execute("UPDATE products SET stock = 1 WHERE name = 'Ball'")
    other.close()
    refused, accepted = opened.commit(opened.order(("Ball", 2)), opened.order(("Ball", 1)))
    assert not isinstance(refused, Accepted)
    assert isinstance(accepted, Accepted)


def test_another_writer_makes_it_busy_not_broken(opened: Opened, file: Path) -> None:
    other = apsw.Connection(str(file))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy):
        opened.store.begin()
    other.execute("ROLLBACK")
    other.close()
    (outcome,) = opened.commit(opened.order(("Ball", 1)))
    assert isinstance(outcome, Accepted)


def test_users_are_added_beside_a_running_store_all_or_none(opened: Opened) -> None:
    with open_users(opened.url, lambda: SMALL) as users:
        assert users.add([NewUser("new", CHEAP_HASH)]) == 1
        with pytest.raises(UserExists, match="'new'"):
            users.add([NewUser("newer", CHEAP_HASH), NewUser("new", CHEAP_HASH)])
    assert opened.user("new").password_hash == CHEAP_HASH
    assert opened.store.users.find("newer") is None


def test_users_added_to_no_store_yet_find_the_catalogue_there(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/new.db"
    with open_users(url, lambda: SMALL) as users:
        users.add([NewUser("new", CHEAP_HASH)])
    store = open_store(url, lambda: SMALL)
    assert store.users.find("new")
    assert store.users.find("user1")
    assert len(store.products.snapshot().products) == 3
    store.close()


def crashed(opened: Opened, name: str) -> Opened:
    """Open the store again from a copy of its files, as a crash would leave them."""
    path = Path(opened.url.removeprefix("sqlite:"))
    copy = path.with_name(name)
    for suffix in ("", "-wal"):
        copy.with_name(copy.name + suffix).write_bytes(
            path.with_name(path.name + suffix).read_bytes()
        )
    return Opened(f"sqlite:{copy}")


@pytest.mark.parametrize("later", [1, -1, 7], ids=["ascending", "descending", "anyhow"])
def test_keys_are_known_after_a_crash_wherever_the_index_was_written(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, later: int
) -> None:
    monkeypatch.setattr(sqlite_index, "INDEX_WRITTEN_EVERY_ORDERS", 4)
    puck = "Bola de Vôlei"
    keys = [f"key {n * later % 20:02d}" for n in range(20)]
    for n, key in enumerate(keys[:-1]):
        opened.commit(
            opened.order((puck, 1), ('Boots, "Pro"', 1) if n < 3 else (puck, 2), key=key),
            opened.order((puck, 1)),
        )
        after = crashed(opened, f"copy{n}.db")
        for store in (opened, after):
            outcomes = store.commit(*(store.order((puck, 9), key=k) for k in keys[: n + 1]))
            assert outcomes == [OrderKeyReused(k) for k in keys[: n + 1]]
        fresh, others = after.commit(
            after.order((puck, 1), key=keys[n + 1]), after.order((puck, 1), key=key, user="user2")
        )
        assert isinstance(fresh, Accepted)
        assert isinstance(others, Accepted)
        after.store.close()


def test_the_database_itself_refuses_a_key_that_was_used_twice(opened: Opened) -> None:
    opened.commit(opened.order(("Ball", 1), key="k"), opened.order(("Ball", 1)))
    opened.reopen()
    index = opened.store.orders.index  # type: ignore[attr-defined]
    index._highest_key = ""  # forgets the keys that are written
    opened.commit(opened.order(("Ball", 1), key="k"))
    writer = opened.store.writer  # type: ignore[attr-defined]
    with pytest.raises(apsw.ConstraintError, match="UNIQUE"):
        index.write(writer, 3)


def test_history_is_whole_after_a_crash_wherever_the_index_was_written(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_index, "INDEX_WRITTEN_EVERY_ORDERS", 4)
    puck = "Bola de Vôlei"
    for n in range(1, 15):
        opened.commit(opened.order((puck, 1), user=f"user{n % 3 + 1}"))
        after = crashed(opened, f"copy{n}.db")
        for user in ("user1", "user2", "user3"):
            assert [r.position for r in after.history(user)] == [
                r.position for r in opened.history(user)
            ]
        after.store.close()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"not a database" * 1000, "not a database"),
        (b"SQLite format 3\0" + b"\1" * 5000, "not a database"),
    ],
)
def test_a_file_that_is_no_database_is_refused(content: bytes, says: str, file: Path) -> None:
    file.write_bytes(content)
    with pytest.raises(StoreError, match=says):
        open_store(f"sqlite:{file}", lambda: SMALL)
    assert file.read_bytes() == content


def test_a_database_of_something_else_is_refused_and_left_alone(file: Path) -> None:
    other = apsw.Connection(str(file))
    other.execute("CREATE TABLE cats (name)")
    other.close()
    content = file.read_bytes()
    with pytest.raises(StoreError, match="not one of a sportshop"):
        open_store(f"sqlite:{file}", lambda: SMALL)
    assert file.read_bytes() == content


def test_a_store_of_a_later_version_is_refused(opened: Opened, file: Path) -> None:
    opened.store.close()
    later = apsw.Connection(str(file))
    later.execute("PRAGMA user_version = 99")
    later.close()
    with pytest.raises(StoreError, match="schema version 99: this sportshop knows version 1"):
        open_store(opened.url, lambda: SMALL)
    later = apsw.Connection(str(file))
    later.execute("PRAGMA user_version = 1")
    later.close()
    opened.open()


def test_what_is_kept_of_orders_that_were_read_is_bounded_in_bytes_and_right(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_read, "RECENT_BYTES_MAX", 3_000)
    for quantity in range(1, 8):
        opened.commit(opened.order(*[("Bola de Vôlei", quantity)] * quantity))
    for _ in range(2):
        assert [len(receipt.items) for receipt in opened.history()] == [*range(7, 0, -1)]
        assert 1 <= len(opened.store.orders._recent) <= 3  # type: ignore[attr-defined]


def positions_before(opened: Opened, user: str, before: int) -> list[int]:
    return [receipt.position for receipt in opened.history(user, before=before)]


@pytest.mark.parametrize("written_every", [4, 64, 10_000])
def test_a_history_from_any_position_is_that_from_the_end_cut_there(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, written_every: int
) -> None:
    monkeypatch.setattr(sqlite_index, "INDEX_WRITTEN_EVERY_ORDERS", written_every)
    monkeypatch.setattr(sqlite_read, "NEAR_ORDERS", 2)
    puck = "Bola de Vôlei"
    for n in range(25):  # user1 has much, user2 every 13th, user3 all of the last ones
        users = ["user3" if n > 20 else "user2" if i == 7 else "user1" for i in range(13)]
        opened.commit(*(opened.order((puck, 1), user=user) for user in users))
    for _ in range(2):
        for user in ("user1", "user2", "user3", "user4"):
            own = [receipt.position for receipt in opened.history(user)]
            for before in (1, 2, 8, 60, 64, 65, 100, 129, 200, 273, 274, 320, 325, 326):
                assert positions_before(opened, user, before) == [p for p in own if p < before]
        opened.reopen()


def steps_of(opened: Opened, user: str, before: int) -> int:
    """Count the rows that are read to find the first order before a position."""
    orders, steps = opened.store.orders, 0
    orders._recent.clear()  # type: ignore[attr-defined]
    previous = orders._previous  # type: ignore[attr-defined]

    def counted(position: int) -> int:
        nonlocal steps
        steps += 1
        return int(previous(position))

    orders._previous = counted  # type: ignore[attr-defined]
    opened.history(user, before=before, limit=1)
    orders._previous = previous  # type: ignore[attr-defined]
    return steps


def alternating(n: int) -> str:
    return f"user{n % 2 + 1}"


def every_sixty_fourth(n: int) -> str:
    return "user2" if n % 64 == 5 else "user1"


def in_blocks(n: int) -> str:
    return "user1" if n // 2_000 % 2 == 0 else "user2"


@pytest.mark.parametrize("whose", [alternating, every_sixty_fourth, in_blocks])
@pytest.mark.parametrize("earlier_version", [False, True])
def test_the_middle_of_a_long_history_is_found_in_few_steps(
    whose: Callable[[int], str], earlier_version: bool, opened: Opened
) -> None:
    puck = "Bola de Vôlei"
    for start in range(0, 8_000, 500):
        orders = (opened.order((puck, 1), user=whose(n)) for n in range(start, start + 500))
        opened.commit(*orders)
    opened.store.close()
    if earlier_version:  # which had no marks, and no seal
        database = apsw.Connection(opened.url.removeprefix("sqlite:"))
        database.execute("DROP TABLE marks; DELETE FROM settings WHERE name = 'seal'")
        database.close()
    opened.open()
    opened.commit(opened.order((puck, 1), user="user1"), opened.order((puck, 1), user="user2"))
    for user in ("user1", "user2"):
        steps = [steps_of(opened, user, before) for before in range(1, 8_000, 237)]
        assert max(steps) < 600
        assert sum(steps) / len(steps) < 100


def test_a_page_of_history_is_bounded_in_items(opened: Opened) -> None:
    for _ in range(30):
        opened.commit(opened.order(*[("Bola de Vôlei", 1)] * 100))
    pages = list(opened.store.orders.history(opened.user()))
    assert [len(page) for page in pages] == [10, 10, 10]


def test_a_history_that_leads_in_a_circle_ends_in_one_line(opened: Opened) -> None:
    opened.commit(*[opened.order(("Ball", 1))] * 3)
    writer = opened.store.writer  # type: ignore[attr-defined]
    writer.execute("UPDATE ledger SET previous = 3 WHERE line = 100")
    with pytest.raises(StorageFailed, match="order 1 does not lead to the one before it"):
        opened.history()


@pytest.mark.parametrize("lock", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_a_lock_that_the_shell_holds_is_busy_until_it_ends(
    lock: str, opened: Opened, file: Path
) -> None:
    shell = apsw.Connection(str(file))
    shell.execute(lock)
    for _ in range(3):
        with pytest.raises(StoreBusy):
            opened.store.begin()
    shell.close()
    (sold,) = opened.commit(opened.order(("Ball", 1)))
    assert isinstance(sold, Accepted)


def test_a_copy_made_while_orders_run_is_a_store(opened: Opened, file: Path) -> None:
    """README's backup: VACUUM INTO ends however many orders run, and takes none in half."""
    copy = file.with_name("copy.db")
    commands = [f"VACUUM INTO '{copy}{n}'" for n in range(3)]
    vacuum = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute(sys.argv[2])"
    for command in commands:
        backup = subprocess.Popen([sys.executable, "-c", vacuum, file, command])
        while backup.poll() is None:
            opened.commit(opened.order(("Bola de Vôlei", 1), ("Bola de Vôlei", 2), key=None))
        assert backup.returncode == 0
    everything = opened.history()
    for n in range(3):
        copied = Opened(f"sqlite:{copy}{n}")
        taken = copied.store.orders.count()
        assert copied.history() == everything[len(everything) - taken :]
        assert copied.stock()["Bola de Vôlei"] == 1_000_000 - 3 * taken
        copied.store.close()


def test_contents_count_what_was_opened(opened: Opened) -> None:
    opened.commit(opened.order(("Ball", 1)))
    assert opened.store.contents == {"orders": 1, "products": 3, "users": 5, "set_aside_bytes": 0}


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
@pytest.mark.parametrize("call", ["flock", "fcntl"])
def test_where_files_cannot_be_locked_it_is_one_line(
    number: int, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, call, fails)
    if call == "fcntl" and number == errno.EINVAL:  # an old kernel: the other lock has to do
        open_store(f"sqlite:{tmp_path}/shop.db", lambda: SMALL).close()
        return
    with pytest.raises(StoreError, match="cannot be locked: no locks here"):
        open_store(f"sqlite:{tmp_path}/shop.db", lambda: SMALL)


def test_the_commands_of_a_client_need_no_fcntl() -> None:
    run = (
        "import sys; sys.modules['fcntl'] = None; from sportshop.cli import main; main(['--help'])"
    )
    ended = subprocess.run([sys.executable, "-c", run], capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr
