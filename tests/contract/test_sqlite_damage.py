"""Damage that a start can see is refused in one line; damage it can't see breaks no start."""

import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import apsw
import pytest

from sportshop.orders import Accepted
from sportshop.storage import open_store, open_users, sqlite_seal
from sportshop.storage.interface import StoreError
from sportshop.users import NewUser
from tests.catalogues import CHEAP_HASH, SMALL
from tests.contract.conftest import Opened

PUCK = "Bola de Vôlei"
FLIPS = 100


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    opened = Opened(f"sqlite:{tmp_path}/shop.db")
    for n in range(40):
        order = opened.order((PUCK, 1), ("Ball", 1) if n == 7 else (PUCK, 2), key=f"key {n:02d}")
        opened.commit(order, opened.order((PUCK, 1), user="user2"))
    yield opened
    opened.store.close()


@pytest.fixture
def stopped(opened: Opened, tmp_path: Path) -> Path:
    opened.store.close()
    return tmp_path / "shop.db"


@pytest.fixture
def killed(opened: Opened, tmp_path: Path) -> Path:
    """What a shop that was killed leaves, in a folder of its own."""
    (tmp_path / "killed").mkdir()
    for suffix in ("", "-wal", "-shm", ".lock"):
        shutil.copy(f"{tmp_path}/shop.db{suffix}", tmp_path / "killed")
    return tmp_path / "killed" / "shop.db"


def refusal(path: Path) -> str:
    """Open a store, which must be refused in one line; return that."""
    with pytest.raises(StoreError) as refused:
        open_store(f"sqlite:{path}", dict)
    said = str(refused.value)
    assert said.startswith(f"store sqlite:{path}"), said
    assert "\n" not in said
    return said


def run(path: Path, statement: str) -> None:
    """Run a statement as the sqlite3 shell does."""
    database = apsw.Connection(str(path))
    database.execute(statement)
    database.close()


def flip(path: Path, offset: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


def refused_in_one_line(open_it: Callable[[], object]) -> bool:
    """Open a store; tell whether it was refused, which must be in one line."""
    with suppress(StoreError):
        open_it()
        return False
    with pytest.raises(StoreError) as refused:
        open_it()
    assert "\n" not in str(refused.value)
    return True


def test_a_bit_that_flips_anywhere_in_a_stopped_store_is_refused_or_means_nothing(
    stopped: Path,
) -> None:
    right = contents_of(stopped)
    whole, chance = stopped.read_bytes(), random.Random(1)  # noqa: S311 - the same each time
    refused = 0
    for _ in range(FLIPS):
        stopped.write_bytes(whole)
        flip(stopped, chance.randrange(len(whole)), chance.randrange(8))
        if refused_in_one_line(lambda: open_store(f"sqlite:{stopped}", dict).close()):
            refused += 1
        else:
            assert contents_of(stopped) == right
    assert refused >= FLIPS * 0.85  # the rest are in the free part of the settings' page


def contents_of(path: Path) -> list[object]:
    """Read everything that a shop would."""
    store = open_store(f"sqlite:{path}", dict)
    users = [store.users.find(user.name) for user in SMALL.users]
    histories = [[p for page in store.orders.history(user) for p in page] for user in users if user]
    read = [store.token_key, store.products.snapshot(), users, histories]
    store.close()
    return read


def test_a_bit_that_flips_after_a_crash_ends_no_start_untold(killed: Path) -> None:
    """After a crash there is no seal; still it is one line or a start."""
    files = {suffix: Path(f"{killed}{suffix}").read_bytes() for suffix in ("", "-wal", "-shm")}
    chance = random.Random(2)  # noqa: S311 - the same each time
    for _ in range(FLIPS // 3):
        for suffix, content in files.items():
            Path(f"{killed}{suffix}").write_bytes(content)
        suffix = chance.choice(["", "-wal"])
        flip(Path(f"{killed}{suffix}"), chance.randrange(len(files[suffix])), chance.randrange(8))
        refused_in_one_line(lambda: open_store(f"sqlite:{killed}", dict).close())


EDITS = {
    "stock": ("UPDATE products SET stock = 950 WHERE name = 'Ball'", "stock of 'Ball' is 950"),
    "stock down": ("UPDATE products SET stock = stock - 1", "the stock of "),
    "a gap": ("DELETE FROM ledger WHERE line / 100 = 60", "not whole at order 59"),
    "the end": ("DELETE FROM ledger WHERE line / 100 = 80", "the stock of "),
    "half an order": ("DELETE FROM ledger WHERE line = 300", "not whole at order 2, item 1"),
    "the beginning": ("DELETE FROM ledger WHERE line / 100 = 1", "begins with order 2"),
    "everything": ("DELETE FROM ledger", "the index is as of order 80"),
    "a user": ("UPDATE ledger SET user = 77 WHERE line = 8000", "not whole at order 80"),
    "a chain": ("UPDATE ledger SET previous = 80 WHERE line = 8000", "not whole at order 80"),
    "a quantity": ("UPDATE ledger SET quantity = 9 WHERE line = 7900", "order 79 does not follow"),
    "what was left": ("UPDATE ledger SET stock_after = 7 WHERE line = 7800", "does not follow"),
    "another chain": ("UPDATE ledger SET previous = 1 WHERE line = 7900", "does not follow"),
    "whose it is": ("UPDATE ledger SET user = 3 - user WHERE line = 7900", "does not follow"),
    "a product": ("DELETE FROM products WHERE name = 'Ball'", "not whole at order 15"),
    "the index ahead": ("UPDATE settings SET value = 99 WHERE name = 'index_as_of'", "as of order"),
    "no number": ("UPDATE settings SET value = 'x' WHERE name = 'index_as_of'", "a number"),
    "a head ahead": ("UPDATE heads SET position = 99", "names order 99"),
    "a head of nobody": ("INSERT INTO heads VALUES (1 << 50, 3)", "and user 1,125,899,906"),
    "a key ahead": ("UPDATE order_keys SET position = 999", "names order 999"),
    "no token key": ("DELETE FROM settings WHERE name = 'token_key'", ""),
    "short token key": ("UPDATE settings SET value = x'00' WHERE name = 'token_key'", ""),
    "a seal": ("UPDATE settings SET value = '{' WHERE name = 'seal'", "seal"),
    "a hash": ("UPDATE users SET password_hash = 'x'", "not as the shop left it"),
    "a price": ("UPDATE products SET price_cents = 1", "not as the shop left it"),
    "a key": ("UPDATE order_keys SET order_key = 'x' WHERE position = 1", "not as the shop left"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_stopped_store_that_was_edited_is_refused(edit: str, stopped: Path) -> None:
    statement, says = EDITS[edit]
    run(stopped, statement)
    assert says in refusal(stopped)


@pytest.mark.parametrize("edit", [edit for edit in EDITS if "not as" not in EDITS[edit][1]])
def test_so_is_one_that_was_edited_after_a_crash(edit: str, killed: Path) -> None:
    open_store(f"sqlite:{killed}", dict).close()  # so that there is an index
    run(killed, "DELETE FROM settings WHERE name = 'seal'")
    statement, _ = EDITS[edit]
    if edit != "a seal":
        run(killed, statement)
        refusal(killed)


def test_an_edit_on_purpose_is_taken_once_the_seal_is_broken(stopped: Path) -> None:
    run(stopped, "UPDATE products SET price_cents = 1 WHERE name = 'Ball'")
    said = refusal(stopped)
    command = said.partition("run: ")[2]
    subprocess.run(command, shell=True, check=True)  # noqa: S602
    store = open_store(f"sqlite:{stopped}", dict)
    assert {product.price for product in store.products.snapshot().products} >= {1}
    store.close()


def test_users_added_to_a_stopped_store_break_its_seal(opened: Opened, stopped: Path) -> None:
    with open_users(opened.url, dict) as users:
        users.add([NewUser("new", CHEAP_HASH)])
    opened.open()
    assert opened.user("new").name == "new"


def test_a_version_that_knows_no_seal_may_have_sold_meanwhile(
    opened: Opened, stopped: Path
) -> None:
    """Somebody goes back to the version before for a day."""
    run(
        stopped,
        "INSERT INTO ledger SELECT (line / 100 + 1) * 100, placed_at_ms, user, line / 100,"
        " NULL, product, 1, price_cents, stock_after - 1 FROM ledger ORDER BY line DESC LIMIT 1;"
        "UPDATE products SET stock = stock - 1 WHERE id = (SELECT product FROM ledger"
        " ORDER BY line DESC LIMIT 1)",
    )
    opened.open()
    assert opened.store.orders.count() == 81
    (again,) = opened.commit(opened.order((PUCK, 1), ("Ball", 1), key="key 07"))
    assert isinstance(again, Accepted)
    assert (again.replayed, again.as_of) == (True, 81)


def test_a_look_from_the_shell_does_not(opened: Opened, stopped: Path) -> None:
    run(stopped, "SELECT * FROM orders")
    run(stopped, "PRAGMA quick_check")
    opened.open()


def test_a_large_file_is_neither_sealed_nor_looked_through(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_seal, "SEALED_BYTES_MAX", 1_000)
    monkeypatch.setattr(sqlite_seal, "QUICK_CHECK_BYTES_MAX", 1_000)
    opened.reopen()
    opened.store.close()
    run(tmp_path / "shop.db", "UPDATE products SET price_cents = 1")
    opened.open()


# Files that do not belong together.


@pytest.mark.parametrize("size", [4_096, 8_192, 12_000])
def test_a_store_cut_beside_its_log_is_refused(size: int, killed: Path) -> None:
    before = {path.name: path.read_bytes() for path in killed.parent.iterdir()}
    os.truncate(killed, size)
    refusal(killed)
    assert Path(f"{killed}-wal").read_bytes() == before["shop.db-wal"]


def restored_by_vacuum(source: Path, copy: Path) -> None:
    run(source, f"VACUUM INTO '{copy}'")


def restored_by_backup(source: Path, copy: Path) -> None:
    database, target = apsw.Connection(str(source)), apsw.Connection(str(copy))
    with target.backup("main", database, "main") as backup:
        backup.step(-1)
    database.close()
    target.close()


COPIES = [restored_by_vacuum, restored_by_backup]


@pytest.mark.parametrize("make_copy", COPIES)
def test_a_copy_opens_in_place_of_what_was_removed(
    make_copy: Callable[[Path, Path], None], opened: Opened, killed: Path
) -> None:
    make_copy(killed, killed.with_name("copy.db"))
    for suffix in ("", "-wal", "-shm"):
        Path(f"{killed}{suffix}").unlink(missing_ok=True)
    shutil.copy(killed.with_name("copy.db"), killed)
    copy = Opened(f"sqlite:{killed}")
    assert copy.history() == opened.history()
    assert copy.stock() == opened.stock()
    copy.commit(copy.order((PUCK, 1)))
    copy.store.close()


@pytest.mark.parametrize("make_copy", COPIES)
def test_a_copy_of_a_stopped_store_opens(
    make_copy: Callable[[Path, Path], None], stopped: Path
) -> None:
    copy = stopped.with_name("copy.db")
    make_copy(stopped, copy)
    assert contents_of(copy) == contents_of(stopped)


@pytest.mark.parametrize("make_copy", COPIES)
def test_an_older_copy_beside_a_later_log_is_refused(
    make_copy: Callable[[Path, Path], None], opened: Opened, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    make_copy(tmp_path / "shop.db", copy)
    opened.store.writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)  # type: ignore[attr-defined]
    for _ in range(100):
        opened.commit(*(opened.order((PUCK, 1), user=f"user{n}") for n in range(1, 6)))
    opened.store.writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)  # type: ignore[attr-defined]
    opened.commit(opened.order((PUCK, 1)))
    for suffix in ("-wal", "-shm"):
        shutil.copy(f"{tmp_path}/shop.db{suffix}", f"{copy}{suffix}")
    restored = copy.read_bytes()
    refusal(copy)
    for suffix in ("-wal", "-shm"):
        Path(f"{copy}{suffix}").unlink()
    assert copy.read_bytes() == restored
    Opened(f"sqlite:{copy}").store.close()


def test_a_log_of_another_store_is_refused(stopped: Path, tmp_path: Path) -> None:
    other = Opened(f"sqlite:{tmp_path}/other.db")
    other.commit(other.order((PUCK, 5), user="user3"))
    shutil.copy(f"{tmp_path}/other.db-wal", f"{stopped}-wal")
    other.store.close()
    before = stopped.read_bytes()
    refusal(stopped)
    assert stopped.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"x" * 10, b"not a log" * 1_000, bytes(8_000)])
def test_a_log_that_is_none_changes_nothing(content: bytes, opened: Opened, stopped: Path) -> None:
    Path(f"{stopped}-wal").write_bytes(content)
    if len(content) > 100:  # longer than a log's header
        assert "was not there when the shop closed" in refusal(stopped)
        assert Path(f"{stopped}-wal").read_bytes() == content
        Path(f"{stopped}-wal").unlink()
    opened.open()
    assert len(opened.history()) == 40


LOG_DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a bit early": lambda log: log[:9_000] + bytes([log[9_000] ^ 1]) + log[9_001:],
    "a bit of the last page": lambda log: log[:-100] + bytes([log[-100] ^ 1]) + log[-99:],
    "a bit of the header": lambda log: log[:17] + bytes([log[17] ^ 64]) + log[18:],
    "a page of zeros": lambda log: log[:4_096] + bytes(4_096) + log[8_192:],
    "zeros": lambda log: bytes(len(log)),
    "cut in the middle": lambda log: log[: len(log) // 2],
    "cut by a byte": lambda log: log[:-1],
    "cut after a commit": lambda log: log[: 32 + 10 * (4_096 + 24)],
    "cut to its header": lambda log: log[:32],
    "empty": lambda _: b"",
}


@pytest.mark.parametrize("damage", LOG_DAMAGE)
def test_a_log_that_was_damaged_after_a_crash_is_refused_again_and_again(
    damage: str, killed: Path
) -> None:
    """SQLite would take what comes before the damage, and sell the rest once more."""
    log = Path(f"{killed}-wal")
    damaged = LOG_DAMAGE[damage](log.read_bytes())
    log.write_bytes(damaged)
    for _ in range(2):
        assert "shop.db-wal" in refusal(killed)
    assert log.read_bytes() == damaged


def test_so_is_a_log_that_was_removed(killed: Path) -> None:
    Path(f"{killed}-wal").unlink()
    for _ in range(2):
        assert "shop.db-wal lacks some" in refusal(killed)


def test_without_its_index_a_log_that_is_damaged_in_the_middle_is_refused(killed: Path) -> None:
    """As when the whole machine went down."""
    log = Path(f"{killed}-wal")
    log.write_bytes(LOG_DAMAGE["a bit early"](log.read_bytes()))
    Path(f"{killed}-shm").unlink()
    for _ in range(2):
        assert "shop.db-wal is not whole after its frame" in refusal(killed)


@pytest.mark.parametrize("lost_bytes", [1, 100, 4_120, 6_000])
def test_a_last_commit_that_the_machine_did_not_finish_is_dropped(
    lost_bytes: int, killed: Path
) -> None:
    log = Path(f"{killed}-wal")
    log.write_bytes(log.read_bytes()[:-lost_bytes])
    Path(f"{killed}-shm").unlink()
    store = open_store(f"sqlite:{killed}", dict)
    assert store.orders.count() == 78  # of 80, two in each commit
    store.close()
