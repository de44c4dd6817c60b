"""A shop that is told to stop answers what it has accepted, tells everyone, and is gone in time.

What was acknowledged is in the shop that is started on the same store; what was not answered
before SHUTTING_DOWN was not done.
"""

import errno
import select
import signal
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import argon2
import pytest

from tests.catalogues import write_catalogue
from tests.system.conftest import (
    Deaf,
    Disk,
    ShopProcess,
    StartShop,
    Talk,
    eventually,
    order,
    reasons,
    request,
)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
INSISTENCE_SECONDS = 1.1  # a second signal sooner than a second is no insistence
ITEM = request("NEW_ORDER_ITEM", end_of_data=False, productName="Ball", quantity=1)
EXIT_SECONDS = 8.0  # of a drain that nobody holds up, which may last 10 s; usually 0.1 s


def assert_told(talk: Talk) -> None:
    """Hold the next and last thing said to be SHUTTING_DOWN."""
    answer = talk.answer()
    assert answer["code"] == "ERROR"
    assert answer["data"] == {
        "reason": "SHUTTING_DOWN",
        "message": "the shop is closing",
        "retryable": True,
    }
    assert talk.is_closed()
    talk.socket.close()


def exit_code(shop: ShopProcess, seconds_max: float) -> int:
    began = time.monotonic()
    code = shop.wait()
    assert time.monotonic() - began < seconds_max
    assert "Traceback" not in shop.log, shop.log
    return code


def assert_connects_nobody(shop: ShopProcess) -> None:
    with pytest.raises(ConnectionRefusedError):
        Talk(shop.host, shop.port)


def is_refused(shop: ShopProcess) -> bool:
    """Try to connect; true once the shop listens no more."""
    try:
        Talk(shop.host, shop.port).socket.close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("number", SIGNALS)
def test_everyone_is_told_and_nothing_half_said_is_done(
    number: signal.Signals, start_small: StartShop
) -> None:
    shop = start_small("sqlite")
    not_logged_in, idle = shop.connect(), shop.login("u0", "secret")
    in_a_frame, in_an_order = shop.login("u1", "secret"), shop.login("u2", "secret")
    in_a_frame.send_bytes(order("Bat")[:-1])
    in_an_order.send_bytes(ITEM * 3)
    done = shop.login("u3", "secret")
    assert done.ask("NEW_ORDER_ITEM", productName="Ball", quantity=1)["data"]["order"] == 1
    shop.signal(number)
    for talk in (not_logged_in, idle, in_a_frame, in_an_order, done):
        assert_told(talk)
    assert exit_code(shop, EXIT_SECONDS) == 0
    assert_connects_nobody(shop)
    again = start_small("sqlite")
    assert again.login("u0", "secret").stock() == {"Ball": 999_999, "Bat": 1_000_000}
    assert [again.login(f"u{i}", "secret").orders() for i in range(3)] == [[], [], []]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_drains_from_the_moment_the_address_is_told(
    number: signal.Signals, start_small: StartShop
) -> None:
    for _ in range(3):
        shop = start_small("memory")
        shop.signal(number)
        assert exit_code(shop, EXIT_SECONDS) == 0
        assert "stopped settled=True" in shop.log


def test_clients_that_do_not_hang_up_hold_up_nobody(start_small: StartShop) -> None:
    shop = start_small("memory", "--drain-seconds", "1")
    talks = [shop.login(f"u{i}", "secret") for i in range(10)]
    shop.signal(signal.SIGTERM)
    assert exit_code(shop, 1 + EXIT_SECONDS) == 0
    assert all(talk.socket.fileno() == -1 for talk in talks)


@pytest.mark.parametrize("kind", ["sqlite", "csv"])
def test_an_order_that_waits_for_the_disk_is_answered_and_durable(
    kind: str, start_small: StartShop, disk: Disk
) -> None:
    shop = start_small(kind, env=disk.env)
    first, second, idle = (shop.login(f"u{i}", "secret") for i in range(3))
    with disk.held():
        first.send_bytes(order(orderKey="first"))
        disk.await_waiting()
        second.send_bytes(order("Bat", orderKey="second"))
        shop.signal(signal.SIGTERM)
        assert_told(idle)
        eventually(lambda: is_refused(shop))
        assert not select.select([first.socket], [], [], 0.1)[0]
    assert first.answer()["data"]["order"] == 1
    assert_told(first)
    settled = second.rest()
    assert reasons(settled) in (["SUCCESS", "SHUTTING_DOWN"], ["SHUTTING_DOWN"])
    assert exit_code(shop, EXIT_SECONDS) == 0
    again = start_small(kind)
    talk = again.login("u0", "secret")
    assert [order["orderKey"] for order in talk.orders()] == ["first"]
    replay = again.login("u1", "secret").ask(
        "NEW_ORDER_ITEM", productName="Bat", quantity=1, orderKey="second"
    )
    assert replay["data"]["replayed"] is (len(settled) == 2)
    assert talk.stock() == {"Ball": 999_999, "Bat": 999_999}


class Pipeline:
    """A client that sends orders with keys, one after another, and reads the answers meanwhile."""

    def __init__(self, shop: ShopProcess, number: int) -> None:
        self.user = f"u{number}"
        self.answers: list[dict[str, Any]] = []
        self.sent = 0
        self._talk = shop.login(self.user, "secret")
        self._threads = [threading.Thread(target=run) for run in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def key(self, index: int) -> str:
        return f"{self.user}-{index}"

    def join(self) -> None:
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()

    def _send(self) -> None:
        while self.sent < 200_000:
            keys = [self.key(index) for index in range(self.sent, self.sent + 20)]
            try:
                self._talk.send_bytes(b"".join(order(orderKey=key) for key in keys))
            except OSError:
                return
            self.sent += 20

    def _receive(self) -> None:
        self.answers = []
        try:
            while True:
                self.answers.append(self._talk.answer())
        except EOFError:
            with suppress(OSError):
                self._talk.socket.shutdown(socket.SHUT_RDWR)  # ends `_send`


@pytest.mark.parametrize(("kind", "number"), [("sqlite", signal.SIGTERM), ("csv", signal.SIGINT)])
def test_of_orders_in_flight_those_before_shutting_down_are_sold_and_no_others(
    kind: str, number: signal.Signals, start_small: StartShop
) -> None:
    shop = start_small(kind)
    clients = [Pipeline(shop, i) for i in range(4)]
    eventually(lambda: all(len(client.answers) > 300 for client in clients))
    shop.signal(number)
    for client in clients:
        client.join()
    assert exit_code(shop, EXIT_SECONDS) == 0
    again = start_small(kind)
    for client in clients:
        told = reasons(client.answers)
        sold = len(told) - 1
        assert told == ["SUCCESS"] * sold + ["SHUTTING_DOWN"]
        assert client.sent > sold
        check_sold(again.login(client.user, "secret"), client, sold)
    left = again.login("u0", "secret").stock()["Ball"]
    assert left == 1_000_000 - sum(len(client.answers) - 1 for client in clients)


def check_sold(talk: Talk, client: Pipeline, sold: int) -> None:
    """Hold the restarted shop to what a client was told."""
    listed = {order["orderKey"]: order for order in talk.orders()}
    assert list(listed) == [client.key(index) for index in reversed(range(sold))]
    for index, answer in enumerate(client.answers[:-1]):
        receipt = answer["data"]
        kept = listed[client.key(index)]
        assert (kept["order"], kept["items"]) == (receipt["order"], receipt["items"])


def test_answers_that_are_under_way_arrive_although_the_client_goes_on_sending(
    start_small: StartShop,
) -> None:
    """What comes for a socket that is closed makes the kernel drop what it still has to send."""
    shop = start_small("sqlite")
    slow, probe = shop.login("u0", "secret"), shop.login("u1", "secret")
    slow.send_bytes(order() * 990)
    eventually(lambda: probe.stock()["Ball"] == 1_000_000 - 990)
    shop.signal(signal.SIGTERM)
    assert_told(probe)
    answers = []
    for _ in range(200):
        with suppress(OSError):
            slow.send_bytes(order())
        answers.append(slow.answer())
    answers += slow.rest()
    assert reasons(answers) == ["SUCCESS"] * 990 + ["SHUTTING_DOWN"]
    slow.socket.close()
    assert exit_code(shop, EXIT_SECONDS) == 0
    assert start_small("sqlite").login("u0", "secret").stock()["Ball"] == 1_000_000 - 990


def test_clients_that_never_read_hold_up_nobody(start_small: StartShop) -> None:
    shop = start_small("sqlite", "--drain-seconds", "1")
    deaf = [Deaf(shop, f"u{i}", request("GET_PRODUCTS") * 1_000) for i in range(2)]
    for client in deaf:
        client.fill()
    idle = shop.login("u2", "secret")
    shop.signal(signal.SIGTERM)
    assert_told(idle)
    assert exit_code(shop, 1 + EXIT_SECONDS) == 0
    assert " cut_off=2" in shop.log


def test_a_list_that_is_being_read_is_read_to_its_end(start_small: StartShop) -> None:
    shop = start_small("sqlite")
    talk = shop.login("u0", "secret")
    talk.send_bytes(order() * 10_000)
    assert [talk.answer()["data"]["order"] for _ in range(10_000)][-1] == 10_000
    talk.send_bytes(request("GET_ORDERS") * 10)
    first = talk.answer()
    shop.signal(signal.SIGTERM)
    messages = [first, *talk.answers()]
    assert sum(len(message["data"]["orders"]) for message in messages) == 10_000
    *others, last = talk.rest()
    assert last["data"]["reason"] == "SHUTTING_DOWN"
    assert {message["code"] for message in others} <= {"ORDERS_LIST"}
    assert not others or others[-1]["endOfData"]
    assert exit_code(shop, EXIT_SECONDS) == 0


def test_logins_that_wait_are_told_and_their_passwords_not_checked(
    tmp_path: Path, start_shop: StartShop
) -> None:
    catalogue = write_catalogue(tmp_path / "catalogue", {"Ball": 10}, 0)
    hasher = argon2.PasswordHasher(time_cost=25, memory_cost=16 * 1024, parallelism=1)
    rows = "".join(f'u{i},"{hasher.hash("secret")}"\n' for i in range(2))
    (catalogue / "users.csv").write_text("user,passwordHash\n" + rows)
    shop = start_shop("memory", "--catalogue", str(catalogue), "--login-threads", "1")
    talks = [shop.connect() for _ in range(40)]
    for i, talk in enumerate(talks):
        talk.send("AUTHENTICATION", user="u0", password=f"wrong {i}")
    eventually(lambda: select.select([talk.socket for talk in talks], [], [], 0)[0])
    shop.signal(signal.SIGTERM)
    for talk in talks:
        told = reasons(talk.rest())
        assert told.pop() == "SHUTTING_DOWN"
        assert told in ([], ["BUSY"], ["INVALID_CREDENTIALS"])
    assert exit_code(shop, EXIT_SECONDS) == 0  # to check them all would take 10 s


# A disk that makes trouble meanwhile.


def settle(shop: ShopProcess, user: str, key: str) -> dict[str, Any]:
    """Ask an order again whose outcome is unknown: it has to be sold just once."""
    talk = shop.login(user, "secret")
    answer = talk.ask("NEW_ORDER_ITEM", productName="Ball", quantity=1, orderKey=key)
    assert answer["code"] == "SUCCESS"
    assert [order["orderKey"] for order in talk.orders()] == [key]
    return dict(answer["data"])


@pytest.mark.parametrize("kind", ["sqlite", "csv"])
def test_a_disk_that_hangs_is_not_waited_for_beyond_the_deadline(
    kind: str, start_small: StartShop, disk: Disk
) -> None:
    shop = start_small(kind, "--drain-seconds", "0.5", env=disk.env)
    waiting, idle = shop.login("u0", "secret"), shop.login("u1", "secret")
    with disk.held():
        waiting.send_bytes(order(orderKey="mine"))
        disk.await_waiting()
        shop.signal(signal.SIGTERM)
        assert_told(idle)
        assert exit_code(shop, 0.5 + EXIT_SECONDS) == 1
    assert "CRITICAL the store did not answer within the drain's deadline" in shop.log
    assert settle(start_small(kind), "u0", "mine")["order"] == 1


@pytest.mark.parametrize("kind", ["sqlite", "csv"])
@pytest.mark.parametrize("insists", [False, True])
def test_nor_is_one_that_hangs_while_the_store_is_closed(
    insists: bool, kind: str, start_small: StartShop, disk: Disk
) -> None:
    """No order waits: what hangs is the stop's own write."""
    shop = start_small(kind, "--drain-seconds", "60" if insists else "0.1", env=disk.env)
    settle_one = shop.login("u0", "secret").ask("NEW_ORDER_ITEM", productName="Ball", quantity=1)
    assert settle_one["data"]["order"] == 1
    with disk.held():
        shop.signal(signal.SIGTERM)
        eventually(lambda: "INFO stopped settled=True" in shop.log)
        if insists:
            time.sleep(INSISTENCE_SECONDS)
            shop.signal(signal.SIGTERM)
        assert exit_code(shop, 2 + EXIT_SECONDS) == 1
    assert insists or "CRITICAL the store did not close in time" in shop.log
    assert len(start_small(kind).login("u0", "secret").orders()) == 1


@pytest.mark.parametrize("kind", ["sqlite", "csv"])
def test_a_commit_that_fails_in_the_drain_is_told_as_what_it_is(
    kind: str, start_small: StartShop, disk: Disk
) -> None:
    shop = start_small(kind, env=disk.env)
    waiting, idle = shop.login("u0", "secret"), shop.login("u1", "secret")
    with disk.held():
        waiting.send_bytes(order(orderKey="mine"))
        disk.await_waiting()
        shop.signal(signal.SIGTERM)
        assert_told(idle)
        disk.fail_syncs(errno.EIO)
    assert reasons(waiting.rest()) == ["STORAGE_FAILED"]
    waiting.socket.close()
    assert exit_code(shop, EXIT_SECONDS) == 1
    disk.heal()
    assert settle(start_small(kind), "u0", "mine")["order"] == 1


def test_a_second_signal_after_a_second_ends_it_at_once_and_not_as_if_all_were_well(
    start_small: StartShop, disk: Disk
) -> None:
    shop = start_small("sqlite", "--drain-seconds", "60", env=disk.env)
    waiting, idle = shop.login("u0", "secret"), shop.login("u1", "secret")
    with disk.held():
        waiting.send_bytes(order(orderKey="mine"))
        disk.await_waiting()
        shop.signal(signal.SIGTERM)
        assert_told(idle)
        assert shop.runs
        time.sleep(INSISTENCE_SECONDS)
        shop.signal(signal.SIGINT)
        assert exit_code(shop, EXIT_SECONDS) == 1
    assert settle(start_small("sqlite"), "u0", "mine")["order"] == 1


@pytest.mark.parametrize("second", SIGNALS)
def test_a_signal_that_arrives_twice_drains(
    second: signal.Signals, start_small: StartShop, disk: Disk
) -> None:
    """As when the process group of `make serve` is signalled: make forwards its own."""
    shop = start_small("sqlite", env=disk.env)
    waiting, idle = shop.login("u0", "secret"), shop.login("u1", "secret")
    with disk.held():
        waiting.send_bytes(order())
        disk.await_waiting()
        shop.signal(signal.SIGTERM)
        assert_told(idle)
        shop.signal(second)
        eventually(lambda: is_refused(shop))
    assert waiting.answer()["data"]["order"] == 1
    waiting.socket.close()
    assert exit_code(shop, EXIT_SECONDS) == 0


def test_a_shop_that_is_to_outlive_its_terminal_does(start_small: StartShop) -> None:
    """`nohup make serve`: SIGHUP is ignored, as it was at the start."""
    nohup = ("sh", "-c", 'trap "" HUP; exec "$@"', "sh")
    shop = start_small("memory", prefix=nohup)
    shop.signal(signal.SIGHUP)
    assert shop.login("u0", "secret").stock() == {"Ball": 1_000_000, "Bat": 1_000_000}
    assert shop.stop() == 0
    assert shop.log.count(" INFO stopping ") == 1


@pytest.mark.parametrize("kind", ["sqlite", "csv"])
def test_while_a_disk_hangs_that_was_fast_others_are_served_and_a_signal_is_heeded(
    kind: str, start_small: StartShop, disk: Disk
) -> None:
    shop = start_small(kind, "--drain-seconds", "0.5", env=disk.env)
    waiting, reader = shop.login("u0", "secret"), shop.login("u1", "secret")
    for _ in range(25):  # the shop has found its disk fast, and waits for it in place
        assert waiting.ask("NEW_ORDER_ITEM", productName="Bat", quantity=1)["code"] == "SUCCESS"
    with disk.held():
        waiting.send_bytes(order(orderKey="mine"))
        disk.await_waiting()
        assert reader.stock() == {"Ball": 1_000_000, "Bat": 999_975}
        assert reader.orders() == []
        assert shop.login("u2", "secret").orders() == []
        shop.signal(signal.SIGTERM)
        assert_told(reader)
        assert exit_code(shop, 0.5 + EXIT_SECONDS) == 1
    talk = start_small(kind).login("u0", "secret")
    answer = talk.ask("NEW_ORDER_ITEM", productName="Ball", quantity=1, orderKey="mine")
    assert answer["data"]["order"] == 26
    assert len(talk.orders()) == 26
