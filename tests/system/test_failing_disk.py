"""A disk that says no, and a process that is killed: nothing acknowledged is lost, nothing twice.

The disk is failing_disk.c, under a real shop. A kill loses no bytes that were written, so this
does not show a missing fsync: that syncs are asked for is counted, and one that fails is heeded.
"""

import errno
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from sportshop.catalogue import read_catalogue
from sportshop.storage import open_store
from sportshop.storage.sqlite_index import INDEX_WRITTEN_EVERY_ORDERS
from tests.catalogues import write_catalogue
from tests.system.conftest import (
    Disk,
    ShopProcess,
    StartShop,
    environment,
    eventually,
    order,
    reasons,
    request,
    store_url,
)

KINDS = pytest.mark.parametrize("kind", ["sqlite", "csv"])
BALLS = 1_000_000


def assert_ended_by_the_disk(shop: ShopProcess) -> None:
    """Hold it to have ended with an error, and to have said why in one line."""
    shop.hang_up()
    assert shop.wait() == 1
    assert "Traceback" not in shop.log, shop.log
    errors = [line for line in shop.log.splitlines() if " INFO " not in line]
    assert len(errors) == 1, shop.log
    assert " CRITICAL the store failed: stopping problem=" in errors[0]


def assert_books_balance(shop: ShopProcess, users: Sequence[str]) -> dict[str, list[Any]]:
    """Hold the orders to be 1, 2, 3 … and to explain the stock; return each user's."""
    lists = {user: shop.login(user, "secret").orders() for user in users}
    orders = sorted((o for listed in lists.values() for o in listed), key=lambda o: o["order"])
    assert [o["order"] for o in orders] == list(range(1, len(orders) + 1))
    left = {"Ball": BALLS, "Bat": BALLS}
    for placed in orders:
        for item in placed["items"]:
            left[item["productName"]] -= item["quantity"]
            assert item["stockQuantity"] == left[item["productName"]]
    assert shop.login(users[0], "secret").stock() == left
    return lists


def settle(shop: ShopProcess, user: str, key: str) -> dict[str, Any]:
    """Ask an order again whose outcome is unknown; it has to be sold just once."""
    talk = shop.login(user, "secret")
    asked: dict[str, Any] = {"productName": "Ball", "quantity": 1, "orderKey": key}
    first, second = talk.ask("NEW_ORDER_ITEM", **asked), talk.ask("NEW_ORDER_ITEM", **asked)
    assert first["code"] == "SUCCESS"
    assert second["data"]["replayed"] is True
    assert second["data"]["order"] == first["data"]["order"]
    assert [o.get("orderKey") for o in talk.orders()].count(key) == 1
    return dict(first["data"])


# A sync that fails.


@KINDS
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_sync_that_fails_acknowledges_nothing_and_ends_the_shop(
    kind: str, number: int, start_small: StartShop, disk: Disk
) -> None:
    shop = start_small(kind, env=disk.env)
    early, *doubtful, idle = (shop.login(f"u{i}", "secret") for i in range(5))
    assert early.ask("NEW_ORDER_ITEM", productName="Ball", quantity=1)["data"]["order"] == 1
    with disk.held():
        for i, talk in enumerate(doubtful, 1):
            talk.send_bytes(order(orderKey=f"u{i}"))
        disk.await_waiting()
        idle.ask("GET_PRODUCTS")  # when this is answered, what was sent before has been read
        disk.fail_syncs(number)
    for talk in doubtful:
        (answer,) = talk.rest()
        assert answer["data"]["reason"] == "STORAGE_FAILED"
        assert answer["data"]["retryable"] is True
        assert "orderKey" in answer["data"]["message"]
    assert reasons(idle.rest()) == reasons(early.rest()) == ["SHUTTING_DOWN"]
    assert_ended_by_the_disk(shop)
    disk.heal()
    again = start_small(kind, env=disk.env)
    assert_books_balance(again, ["u0", "u1", "u2", "u3"])
    positions = {settle(again, f"u{i}", f"u{i}")["order"] for i in (1, 2, 3)}
    assert positions == {2, 3, 4}
    assert again.login("u4", "secret").stock()["Ball"] == BALLS - 4
    assert_books_balance(again, ["u0", "u1", "u2", "u3"])


@KINDS
@pytest.mark.parametrize(
    "behind",
    [order() * 4, request("GET_PRODUCTS") * 2, request("GET_ORDERS") + b"nonsense\n"],
    ids=["orders", "products", "history"],
)
def test_what_was_asked_behind_an_order_in_doubt_is_not_answered_in_its_place(
    kind: str, behind: bytes, start_small: StartShop, disk: Disk
) -> None:
    """A client takes the first answer for that of its first request."""
    shop = start_small(kind, "--pipelined-orders-max", "2", env=disk.env)
    talk = shop.login("u1", "secret")
    with disk.held():
        talk.send_bytes(order() + behind)
        disk.await_waiting()
        disk.fail_syncs(errno.EIO)
    assert reasons(talk.rest()) == ["STORAGE_FAILED"]
    assert_ended_by_the_disk(shop)


@KINDS
def test_a_batch_is_durable_before_it_is_acknowledged_or_shown(
    kind: str, start_small: StartShop, disk: Disk
) -> None:
    shop = start_small(kind, env=disk.env)
    buyer, other = shop.login("u1", "secret"), shop.login("u1", "secret")
    before = disk.get("syncs")
    with disk.held():
        buyer.send_bytes(order(quantity=3))
        disk.await_waiting()
        assert other.stock()["Ball"] == BALLS
        assert other.orders() == []
        assert shop.login("u2", "secret").stock()["Ball"] == BALLS
    assert buyer.answer()["data"]["order"] == 1
    assert disk.get("syncs") > before
    assert other.stock()["Ball"] == BALLS - 3
    assert [o["order"] for o in other.orders()] == [1]


def test_a_commit_that_fails_while_the_index_is_written_loses_nobodys_orders(
    start_small: StartShop, disk: Disk
) -> None:
    """SQLite only: every so many orders a commit writes out where each user's list begins."""
    shop = start_small("sqlite", env=disk.env)
    talk = shop.login("u1", "secret")
    due = INDEX_WRITTEN_EVERY_ORDERS
    talk.send_bytes(order() * due)
    assert [talk.answer()["data"]["order"] for _ in range(due)][-1] == due
    disk.fail_syncs(errno.EIO, failing=1)
    talk.send_bytes(order())  # its commit is the first for which the index is due
    assert reasons(talk.rest()) == ["STORAGE_FAILED"]
    assert_ended_by_the_disk(shop)
    again = start_small("sqlite")
    listed = assert_books_balance(again, ["u1"])
    assert len(listed["u1"]) in {due, due + 1}


# A disk that is full.


@KINDS
@pytest.mark.parametrize("bytes_left", [0, 1, 50, 5_000])
def test_a_disk_that_fills_up_sells_no_more_until_there_is_room(
    kind: str, bytes_left: int, start_small: StartShop, disk: Disk
) -> None:
    shop = start_small(kind, env=disk.env)
    talk = shop.login("u1", "secret")
    talk.send_bytes(order(orderKey="early") + order() * 99)
    assert reasons([talk.answer() for _ in range(100)]) == ["SUCCESS"] * 100
    disk.fail_writes(errno.ENOSPC, bytes_left)
    talk.send_bytes(order(orderKey="full") + order("Bat", 2) * 200 + order(orderKey="early"))
    told = reasons([talk.answer() for _ in range(202)])
    assert told.pop() == "SUCCESS"  # a replay
    assert set(told) <= {"SUCCESS", "BUSY"}
    assert "BUSY" in told
    sold = 100 + told.count("SUCCESS")
    assert len(talk.orders()) == sold
    disk.heal()
    settle(shop, "u1", "full")
    assert shop.stop() == 0
    assert "Traceback" not in shop.log
    kept = assert_books_balance(start_small(kind, env=disk.env), ["u1"])["u1"]
    assert len(kept) == sold + (told[0] == "BUSY")


@KINDS
def test_a_shop_does_not_start_on_a_full_disk_and_says_so(
    kind: str, start_small: StartShop, disk: Disk
) -> None:
    disk.fail_writes(errno.ENOSPC)
    with pytest.raises(AssertionError, match="the shop did not start") as refused:
        start_small(kind, env=disk.env)
    said = str(refused.value)
    assert "Traceback" not in said
    assert "\nsportshop: store " in said
    disk.heal()
    assert start_small(kind, env=disk.env).login("u1", "secret").stock()["Ball"] == BALLS


@pytest.mark.parametrize("ended", ["stopped", "killed"])
def test_a_sqlite_shop_starts_on_a_full_disk_and_sells_when_there_is_room(
    ended: str, start_small: StartShop, disk: Disk
) -> None:
    """Without a new start, and with everything but new orders meanwhile."""
    shop = start_small("sqlite", env=disk.env)
    first = shop.login("u1", "secret").ask(
        "NEW_ORDER_ITEM", productName="Ball", quantity=1, orderKey="early"
    )
    assert first["data"]["order"] == 1
    if ended == "stopped":
        assert shop.stop() == 0
    else:
        shop.kill()
    disk.fail_writes(errno.ENOSPC)
    full = start_small("sqlite", env=disk.env)
    talk = full.login("u1", "secret")
    assert [o["orderKey"] for o in talk.orders()] == ["early"]
    busy = talk.ask("NEW_ORDER_ITEM", productName="Ball", quantity=1, orderKey="late")
    assert (busy["data"]["reason"], busy["data"]["retryable"]) == ("BUSY", True)
    again = talk.ask("NEW_ORDER_ITEM", productName="Ball", quantity=1, orderKey="early")
    assert again["data"]["replayed"] is True
    disk.heal()
    late = talk.ask("NEW_ORDER_ITEM", productName="Ball", quantity=1, orderKey="late")
    assert (late["data"]["order"], late["data"]["replayed"]) == (2, False)
    assert full.stop() == 0
    assert "WARNING no room on the disk" in full.log
    assert "Traceback" not in full.log
    assert_books_balance(start_small("sqlite"), ["u1"])


def test_a_torn_batch_is_kept_aside_and_only_cut_off_when_that_is_done(
    start_small: StartShop, disk: Disk, tmp_path: Path
) -> None:
    """CSV only. On a disk that is still full at the next start it stays where it is."""
    shop = start_small("csv", env=disk.env)
    talk = shop.login("u1", "secret")
    assert talk.ask("NEW_ORDER_ITEM", productName="Ball", quantity=1)["code"] == "SUCCESS"
    shop.kill()
    ledger = tmp_path / "shop" / "orders.csv"
    whole = ledger.read_bytes()
    torn = b"2,2023-11-14T22:13:20.123Z,u1"
    ledger.write_bytes(whole + torn)
    disk.fail_writes(errno.ENOSPC)
    again = start_small("csv", env=disk.env)
    assert [o["order"] for o in again.login("u1", "secret").orders()] == [1]
    again.kill()
    assert ledger.read_bytes() == whole + torn
    disk.heal()
    again = start_small("csv", env=disk.env)
    assert ledger.read_bytes() == whole
    assert (tmp_path / "shop" / "torn-after-order-1.csv").read_bytes() == torn
    assert settle(again, "u1", "torn")["order"] == 2
    again.stop()
    assert " WARNING set aside what a crash left of the last batch " in again.log
    assert "torn-after-order-1.csv" in again.log


# A disk that cannot be read.


@KINDS
def test_a_read_that_fails_ends_the_connection_and_not_the_shop(
    kind: str, start_small: StartShop, disk: Disk
) -> None:
    shop = start_small(kind, env=disk.env)
    talk = shop.login("u1", "secret")
    talk.send_bytes(order() * 5_000)
    assert [talk.answer()["data"]["order"] for _ in range(5_000)][-1] == 5_000
    reading = shop.login("u1", "secret")
    disk.set(read_errno=errno.EIO)
    reading.send("GET_ORDERS")
    *listed, last = reading.rest()
    assert last["data"]["reason"] == "STORAGE_FAILED"
    assert last["data"]["retryable"] is True
    assert all(message["endOfData"] is False for message in listed)
    disk.heal()
    assert len(talk.orders()) == 5_000
    assert talk.ask("NEW_ORDER_ITEM", productName="Ball", quantity=1)["data"]["order"] == 5_001
    assert shop.stop() == 0
    assert "Traceback" not in shop.log
    assert shop.log.count(" ERROR a read failed problem=") == 1


# A process that is killed.


FILL = """
import sys
from pathlib import Path
from sportshop.catalogue import read_catalogue
from sportshop.storage import open_store
open_store(sys.argv[1], lambda: read_catalogue(Path(sys.argv[2]))).close()
"""


@KINDS
def test_a_first_start_that_is_killed_at_any_sync_is_done_again_whole(
    kind: str, disk: Disk, tmp_path: Path
) -> None:
    catalogue = write_catalogue(tmp_path / "catalogue", {"Ball": BALLS, "Bat": BALLS}, 50)
    fill = [sys.executable, "-c", FILL, store_url(kind, tmp_path), str(catalogue)]
    for sync in range(1, 100):
        disk.set(syncs=0, kill_at_sync=sync)
        if not subprocess.run(fill, env=environment(disk.env), check=False).returncode:
            break
        disk.set(kill_at_sync=0)
        assert opened_stock(kind, tmp_path) == {"Ball": BALLS, "Bat": BALLS}
        forget(tmp_path)
    assert sync > 3


def opened_stock(kind: str, folder: Path) -> dict[str, int]:
    """Open the store here, as the next start would, and return its stock."""
    store = open_store(store_url(kind, folder), lambda: read_catalogue(folder / "catalogue"))
    with closing(store):
        return {product.name: product.stock for product in store.products.snapshot().products}


def forget(folder: Path) -> None:
    """Remove the store."""
    for path in [*folder.glob("shop.db*"), *folder.glob("shop/*"), *folder.glob("shop/.*")]:
        path.unlink()


@pytest.mark.parametrize(
    ("kind", "ledger"), [("sqlite", "shop.db-wal"), ("csv", "shop/orders.csv")]
)
def test_an_order_that_was_written_but_not_synced_is_synced_before_it_is_told(
    kind: str, ledger: str, start_small: StartShop, disk: Disk, tmp_path: Path
) -> None:
    """What a killed shop has written is there for the next one to read, and not yet durable."""
    shop = start_small(kind, env=disk.env)
    talk = shop.login("u1", "secret")
    assert talk.ask("NEW_ORDER_ITEM", productName="Ball", quantity=1)["data"]["order"] == 1
    with disk.held():
        talk.send_bytes(order(orderKey="mine"))
        disk.await_waiting()
        shop.kill()
    disk.set(syncs=0)
    only_the_ledger = disk.env | {"FAILING_DISK_FOLDER": str(tmp_path / ledger)}
    talk = start_small(kind, env=only_the_ledger).login("u1", "secret")
    talk.send_bytes(order(orderKey="mine"))
    answer = talk.answer()["data"]
    assert (answer["order"], answer["replayed"]) == (2, True)
    assert disk.get("syncs") >= 1


class Buyer:
    """A client that orders one after another, each with a key, until the shop is gone."""

    def __init__(self, shop: ShopProcess, number: int, life: int) -> None:
        self.user = f"u{number}"
        self.receipts: dict[str, dict[str, Any]] = {}
        self.in_doubt: list[str] = []
        self._life = life
        self._talk = shop.login(self.user, "secret")
        self._thread = threading.Thread(target=self._buy)
        self._thread.start()

    def join(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive()

    def _buy(self) -> None:
        """Send ten orders of two items at once and read the answers, over and over."""
        for round_ in range(10_000):
            self.in_doubt = [f"{self.user}-{self._life}-{round_}-{i}" for i in range(10)]
            try:
                self._talk.send_bytes(b"".join(basket(key) for key in self.in_doubt))
                while self.in_doubt:
                    answer = self._talk.answer()
                    self.receipts[self.in_doubt.pop(0)] = answer["data"]
            except (EOFError, OSError):
                return


def basket(key: str) -> bytes:
    ball = request(
        "NEW_ORDER_ITEM", end_of_data=False, productName="Ball", quantity=1, orderKey=key
    )
    return ball + order("Bat", 2)


@KINDS
def test_a_shop_that_is_killed_under_load_has_sold_what_it_said_and_each_once(
    kind: str, start_small: StartShop
) -> None:
    receipts: dict[str, dict[str, Any]] = {}
    users = [f"u{i}" for i in range(6)]
    for life in range(2):
        buyers = buy_until_killed(start_small(kind), life)
        for buyer in buyers:
            receipts |= buyer.receipts
        again = start_small(kind)
        assert_sold(assert_books_balance(again, users), receipts)
        for buyer in buyers:
            receipts |= ask_again(again, buyer)
        assert_sold(assert_books_balance(again, users), receipts, only=True)
        again.kill()


def buy_until_killed(shop: ShopProcess, life: int) -> list[Buyer]:
    """Let six buy at once, and kill the shop once each has some receipts."""
    buyers = [Buyer(shop, i, life) for i in range(6)]
    eventually(lambda: all(len(buyer.receipts) >= 100 for buyer in buyers))
    shop.kill()
    for buyer in buyers:
        buyer.join()
    return buyers


def assert_sold(
    lists: dict[str, list[Any]], receipts: dict[str, dict[str, Any]], only: bool = False
) -> None:
    """Hold every acknowledged order to be in its owner's list once, as it was acknowledged."""
    listed = [(user, o) for user, own in lists.items() for o in own]
    sold = {o["orderKey"]: o for user, o in listed if o["orderKey"].startswith(user + "-")}
    assert len(sold) == len(listed)
    assert receipts.keys() <= sold.keys()
    assert not only or receipts.keys() == sold.keys()
    for key, receipt in receipts.items():
        for fact in ("order", "items", "total"):
            assert sold[key][fact] == receipt[fact]


def ask_again(shop: ShopProcess, buyer: Buyer) -> dict[str, dict[str, Any]]:
    """Send again what was in doubt, and some of what was not; return the receipts."""
    talk = shop.login(buyer.user, "secret")
    known = list(buyer.receipts)[-5:]
    receipts = {}
    for key in known + buyer.in_doubt:
        talk.send_bytes(basket(key))
        answer = talk.answer()
        assert answer["code"] == "SUCCESS"
        assert answer["data"]["replayed"] or key not in known
        receipts[key] = answer["data"]
    assert all(receipts[key]["order"] == buyer.receipts[key]["order"] for key in known)
    return receipts


def test_a_ledger_cut_short_anywhere_in_its_last_batch_starts_without_that_batch(
    start_small: StartShop, tmp_path: Path
) -> None:
    """CSV only; tests/contract cuts at every byte, this one is told by the shop."""
    shop = start_small("csv")
    talk = shop.login("u1", "secret")
    assert talk.ask("NEW_ORDER_ITEM", productName="Ball", quantity=1)["code"] == "SUCCESS"
    path = tmp_path / "shop" / "orders.csv"
    first = path.read_bytes()
    talk.send_bytes(basket("k1") + basket("k2"))
    assert reasons([talk.answer(), talk.answer()]) == ["SUCCESS", "SUCCESS"]
    shop.kill()
    whole = path.read_bytes()
    for cut in (len(first) + 1, (len(first) + len(whole)) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        again = start_small("csv")
        assert [o["order"] for o in again.login("u1", "secret").orders()] == [1]
        assert_books_balance(again, ["u1"])
        again.kill()
        assert path.read_bytes() == first
        assert (tmp_path / "shop" / "torn-after-order-1.csv").read_bytes() == whole[
            len(first) : cut
        ]


# A store that is taken away.


def gone(path: Path) -> None:
    path.unlink()


def renamed(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def replaced(path: Path) -> None:
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)


@KINDS
@pytest.mark.parametrize("taken", [gone, renamed, replaced])
def test_a_store_that_is_taken_away_stops_the_shop(
    kind: str, taken: Callable[[Path], None], start_small: StartShop, tmp_path: Path
) -> None:
    """Else it would acknowledge until its end what nobody will find again."""
    shop = start_small(kind, "--login-seconds", "1")  # and so it looks four times a second
    idle, buyer = shop.login("u0", "secret"), shop.login("u1", "secret")
    assert buyer.ask("NEW_ORDER_ITEM", productName="Ball", quantity=1)["data"]["order"] == 1
    (ledger,) = [path for path in tmp_path.rglob("*") if path.name in {"shop.db", "orders.csv"}]
    taken(ledger)
    assert reasons(idle.rest()) == ["SHUTTING_DOWN"]
    assert_ended_by_the_disk(shop)


# A store that somebody else has locked.


def test_while_somebody_has_locked_the_store_orders_are_told_busy_and_the_shop_goes_on(
    start_small: StartShop, tmp_path: Path
) -> None:
    """`BEGIN IMMEDIATE;` in the sqlite3 shell, left open."""
    shop = start_small("sqlite")
    first, second = shop.login("u0", "secret"), shop.login("u1", "secret")
    shell = apsw.Connection(str(tmp_path / "shop.db"))
    shell.execute("BEGIN IMMEDIATE")
    first.send_bytes(order() * 3)
    assert reasons([first.answer() for _ in range(3)]) == ["BUSY"] * 3
    second.send_bytes(order() + request("GET_ORDERS"))
    assert reasons([second.answer(), second.answer()]) == ["BUSY", "ORDERS_LIST"]
    shell.execute("ROLLBACK")
    shell.close()
    assert first.ask("NEW_ORDER_ITEM", productName="Ball", quantity=1)["data"]["order"] == 1
    assert shop.stop() == 0
    assert shop.log.count("WARNING new orders are told BUSY") == 1
    assert 'why="another program has locked the store"' in shop.log
    assert shop.log.count("INFO orders are taken again") == 1
