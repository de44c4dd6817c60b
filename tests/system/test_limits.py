"""Every limit in settings.py bites, with the reason that the protocol names, and hurts nobody else.

How much waits is decided by a disk that is held (failing_disk.c), not by luck.
"""

import itertools
import os
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import argon2
import pytest

from sportshop.settings import Limits
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

FRAME_BYTES_MAX = 65_536  # PROTOCOL.md
ITEM = request("NEW_ORDER_ITEM", end_of_data=False, productName="Ball", quantity=1)
QUICK_SECONDS = 15.0  # for a shopper who is served beside somebody who misbehaves; usually 2 ms


def test_every_limit_is_tried_here() -> None:
    tried = "".join(
        Path(__file__).with_name(name).read_text() for name in ("test_limits.py", "test_drain.py")
    )
    flags = ["--" + limit.name.replace("_", "-") for limit in fields(Limits)]
    assert [flag for flag in flags if f'"{flag}"' not in tried] == []


def said_last(talk: Talk) -> dict[str, Any]:
    """Return the ERROR that ends a connection; it has to be closed right after it."""
    answer = talk.answer()
    assert answer["code"] == "ERROR"
    assert talk.is_closed()
    return dict(answer["data"])


def assert_timed_out(talk: Talk, message: str) -> None:
    assert said_last(talk) == {"reason": "TIMED_OUT", "message": message, "retryable": True}


def assert_serves(shop: ShopProcess, user: str = "u49") -> None:
    """Log in, order and leave: who misbehaves does not keep others waiting."""
    began = time.monotonic()
    with Talk(shop.host, shop.port) as talk:
        assert talk.ask("AUTHENTICATION", user=user, password="secret")["code"] == "SUCCESS"
        assert talk.ask("NEW_ORDER_ITEM", productName="Bat", quantity=1)["code"] == "SUCCESS"
    assert time.monotonic() - began < QUICK_SECONDS


# Connections.


def test_a_connection_too_many_is_told_busy_and_gets_in_once_another_has_left(
    start_small: StartShop,
) -> None:
    shop = start_small("memory", "--connections-max", "2")
    first, second = shop.login("u1", "secret"), shop.login("u2", "secret")
    busy = said_last(shop.connect())
    assert (busy["reason"], busy["retryable"]) == ("BUSY", True)
    assert first.ask("NEW_ORDER_ITEM", productName="Ball", quantity=1)["data"]["order"] == 1
    second.socket.close()
    third = eventually(lambda: admitted(shop))
    assert third.ask("NEW_ORDER_ITEM", productName="Ball", quantity=1)["data"]["order"] == 2
    assert said_last(shop.connect())["reason"] == "BUSY"


def admitted(shop: ShopProcess) -> Talk | None:
    """Connect and log in; None if the shop is full."""
    talk = shop.connect()
    try:
        answer = talk.ask("AUTHENTICATION", user="u3", password="secret")
    except ConnectionError:
        return None
    return talk if answer["code"] == "SUCCESS" else None


@pytest.mark.parametrize(
    ("descriptors", "connections"), [(40, 8), (64, 32), (100, 50), (110, 55), (250, 150)]
)
def test_connections_are_bounded_by_the_descriptors_and_the_log_says_so(
    descriptors: int, connections: int, start_small: StartShop
) -> None:
    """Up to 100 of them are kept for files and for telling clients BUSY."""
    shop = start_small("sqlite", prefix=with_descriptors(descriptors))
    talks = [shop.connect() for _ in range(connections)]
    for talk in (talks[0], talks[-1]):
        assert talk.ask("AUTHENTICATION", user="u0", password="secret")["code"] == "SUCCESS"
        assert talk.ask("NEW_ORDER_ITEM", productName="Ball", quantity=1)["code"] == "SUCCESS"
    refused = [shop.connect() for _ in range(70)]
    assert said_last(refused[0])["reason"] == "BUSY"
    assert talks[-1].ask("GET_PRODUCTS")["code"] == "PRODUCTS_LIST"
    assert shop.stop() == 0
    limits = f"connections_max={connections} asked=16000 descriptors={descriptors}"
    assert f"WARNING fewer connections than asked for {limits}" in shop.log
    assert "Traceback" not in shop.log


def with_descriptors(count: int) -> tuple[str, ...]:
    return ("sh", "-c", f'ulimit -n {count}; exec "$@"', "sh")


@pytest.mark.parametrize("descriptors", [20, 32])
def test_where_there_are_too_few_descriptors_for_one_connection_it_does_not_start(
    descriptors: int, start_small: StartShop
) -> None:
    with pytest.raises(AssertionError) as failed:
        start_small("memory", prefix=with_descriptors(descriptors))
    assert f"{descriptors} file descriptors (ulimit -n) leave no room" in str(failed.value)


# Orders.


def readable(talks: Sequence[Talk], count: int) -> list[Talk]:
    """Wait until so many have an answer; return those."""
    sockets = {talk.socket: talk for talk in talks}

    def ready() -> list[Talk]:
        found = [sockets[s] for s in select.select(list(sockets), [], [], 0)[0]]
        return found if len(found) >= count else []

    found: list[Talk] = eventually(ready)
    return found


def test_an_order_too_many_is_told_busy_and_is_not_placed(
    start_small: StartShop, disk: Disk
) -> None:
    shop = start_small("sqlite", "--waiting-orders-max", "3", env=disk.env)
    first, *others = [shop.login(f"u{i}", "secret") for i in range(6)]
    with disk.held():
        first.send_bytes(order())
        disk.await_waiting()
        for talk in others:
            talk.send_bytes(order("Bat"))
        refused = readable(others, 2)
        answers = [talk.answer() for talk in refused]
        assert reasons(answers) == ["BUSY", "BUSY"]
        assert all(answer["data"]["retryable"] is True for answer in answers)
    assert first.answer()["data"]["order"] == 1
    accepted = [talk for talk in others if talk not in refused]
    assert sorted(talk.answer()["data"]["order"] for talk in accepted) == [2, 3, 4]
    for talk in refused:
        assert talk.orders() == []
    assert first.stock() == {"Ball": 999_999, "Bat": 999_997}
    again = [talk.ask("NEW_ORDER_ITEM", productName="Bat", quantity=1) for talk in refused]
    assert [answer["data"]["order"] for answer in again] == [5, 6]


def test_orders_pipelined_beyond_the_limit_wait_and_are_answered_in_order(
    start_small: StartShop, disk: Disk
) -> None:
    """Were they taken in at once, some of them would be one too many of those that wait."""
    limits = ("--pipelined-orders-max", "5", "--waiting-orders-max", "10")
    shop = start_small("sqlite", *limits, env=disk.env)
    talk, other = shop.login("u0", "secret"), shop.login("u1", "secret")
    with disk.held():
        talk.send_bytes(order() * 200)
        disk.await_waiting()
        other.send_bytes(order("Bat"))
    answers = [talk.answer() for _ in range(200)]
    assert reasons(answers) == ["SUCCESS"] * 200
    positions = [answer["data"]["order"] for answer in answers]
    assert positions == sorted(positions)
    assert other.answer()["code"] == "SUCCESS"
    assert other.stock() == {"Ball": 999_800, "Bat": 999_999}


@pytest.mark.parametrize(("flags", "syncs"), [((), 1), (("--batch-orders-max", "2"), 4)])
def test_a_batch_is_one_sync_and_has_as_many_orders_as_it_may(
    flags: tuple[str, ...], syncs: int, start_small: StartShop, disk: Disk
) -> None:
    shop = start_small("csv", *flags, env=disk.env)
    talk = shop.login("u0", "secret")
    before = disk.get("syncs")
    talk.send_bytes(order() * 7)
    assert [talk.answer()["data"]["order"] for _ in range(7)] == [1, 2, 3, 4, 5, 6, 7]
    assert disk.get("syncs") - before == syncs


def basket(items: int) -> bytes:
    return ITEM * (items - 1) + order("Bat")


def test_items_that_wait_are_bounded_as_orders_are(start_small: StartShop, disk: Disk) -> None:
    shop = start_small("sqlite", "--waiting-items-max", "60", env=disk.env)
    first, *others = [shop.login(f"u{i}", "secret") for i in range(5)]
    with disk.held():
        first.send_bytes(order())
        disk.await_waiting()
        for talk in others:
            talk.send_bytes(basket(20))
        (refused,) = readable(others, 1)
        assert reasons([refused.answer()]) == ["BUSY"]
    accepted = [talk for talk in others if talk is not refused]
    assert sorted(talk.answer()["data"]["order"] for talk in accepted) == [2, 3, 4]
    assert refused.orders() == []


def test_baskets_that_were_told_busy_do_not_count_as_waiting(
    start_small: StartShop, disk: Disk
) -> None:
    limits = ("--pipelined-items-max", "5", "--waiting-items-max", "1")
    shop = start_small("sqlite", *limits, env=disk.env)
    first, other, talk = (shop.login(f"u{i}", "secret") for i in range(3))
    with disk.held():
        first.send_bytes(order())
        disk.await_waiting()
        other.send_bytes(order())
        shop.login("u3", "secret").ask("GET_PRODUCTS")  # so that both have been read
        for _ in range(4):
            talk.send_bytes(basket(3))
            assert reasons([talk.answer()]) == ["BUSY"]
    assert reasons([first.answer(), other.answer()]) == ["SUCCESS"] * 2
    talk.send_bytes(basket(3))
    assert talk.answer()["code"] == "SUCCESS"


def test_items_pipelined_beyond_the_limit_wait_and_are_answered_in_order(
    start_small: StartShop, disk: Disk
) -> None:
    """Were they taken in at once, they would be more than may wait."""
    limits = ("--pipelined-items-max", "50", "--waiting-items-max", "100")
    shop = start_small("sqlite", *limits, env=disk.env)
    talk, other = shop.login("u0", "secret"), shop.login("u1", "secret")
    with disk.held():
        talk.send_bytes(basket(30) * 20)
        disk.await_waiting()
        other.send_bytes(order("Bat"))
    answers = [talk.answer() for _ in range(20)]
    assert reasons(answers) == ["SUCCESS"] * 20
    positions = [answer["data"]["order"] for answer in answers]
    assert positions == sorted(positions)
    assert other.answer()["code"] == "SUCCESS"


@pytest.mark.parametrize(("flags", "syncs"), [((), 1), (("--batch-items-max", "12"), 2)])
def test_a_batch_has_as_many_items_as_it_may(
    flags: tuple[str, ...], syncs: int, start_small: StartShop, disk: Disk
) -> None:
    shop = start_small("csv", *flags, env=disk.env)
    talk, first = shop.login("u0", "secret"), shop.login("u1", "secret")
    with disk.held():
        first.send_bytes(order())
        disk.await_waiting()
        talk.send_bytes(basket(5) * 4)
        shop.login("u2", "secret").ask("GET_PRODUCTS")  # what was sent before has been read
        before = disk.get("syncs")
    assert [talk.answer()["data"]["order"] for _ in range(4)] == [2, 3, 4, 5]
    assert disk.get("syncs") - before == syncs


# Logins.


@pytest.fixture
def slow_logins(tmp_path: Path) -> str:
    """A catalogue whose users' password takes a third of a second of processor time to check."""
    catalogue = write_catalogue(tmp_path / "slow", {"Ball": 10}, 0)
    hasher = argon2.PasswordHasher(time_cost=25, memory_cost=16 * 1024, parallelism=1)
    phc = hasher.hash("secret")
    rows = "".join(f'u{i},"{phc}"\n' for i in range(9))
    (catalogue / "users.csv").write_text("user,passwordHash\n" + rows)
    return str(catalogue)


def send_logins(shop: ShopProcess, count: int) -> list[Talk]:
    talks = [shop.connect() for _ in range(count)]
    for i, talk in enumerate(talks):
        talk.send("AUTHENTICATION", user=f"u{i}", password="secret")
    return talks


def test_a_login_too_many_is_told_busy_and_can_try_again(
    slow_logins: str, start_shop: StartShop
) -> None:
    flags = ("--catalogue", slow_logins, "--waiting-logins-max", "2", "--login-threads", "1")
    shop = start_shop("memory", *flags)
    talks = send_logins(shop, 3)
    answers = [talk.answer() for talk in talks]
    assert sorted(reasons(answers)) == ["BUSY", "SUCCESS", "SUCCESS"]
    (refused,) = [i for i, answer in enumerate(answers) if answer["code"] == "ERROR"]
    assert answers[refused]["data"]["retryable"] is True
    again = talks[refused].ask("AUTHENTICATION", user=f"u{refused}", password="secret")
    assert again["data"]["user"] == f"u{refused}"


def test_who_has_hung_up_waits_for_who_has_not_and_is_answered_all_the_same(
    slow_logins: str, start_shop: StartShop
) -> None:
    """As `printf … | nc`, which reads on; and as thousands who ask for a hash and leave."""
    shop = start_shop("memory", "--catalogue", slow_logins, "--login-threads", "1")
    leaving, gone = [shop.connect() for _ in range(6)], [shop.connect() for _ in range(20)]
    for i, talk in enumerate([*leaving, *gone]):
        talk.send("AUTHENTICATION", user=f"stranger{i}", password="x")
        talk.socket.shutdown(socket.SHUT_WR)
    for talk in gone:
        reset(talk)
    honest = shop.login("u1", "secret")
    answered = select.select([talk.socket for talk in leaving], [], [], 0)[0]
    assert len(answered) <= 2  # whose hash had begun, and one that ended with the honest one
    assert honest.orders() == []
    for talk in leaving:
        assert reasons(talk.rest()) == ["INVALID_CREDENTIALS"]


def threads(shop: ShopProcess) -> int:
    return len(os.listdir(f"/proc/{shop.pid}/task"))  # noqa: PTH208 - it is no folder of files


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to count threads")
@pytest.mark.parametrize("limit", [1, 3])
def test_passwords_are_checked_in_as_many_threads_as_it_may(
    limit: int, slow_logins: str, start_shop: StartShop
) -> None:
    flags = ("--catalogue", slow_logins, "--login-threads", str(limit))
    shop = start_shop("memory", *flags)
    before = threads(shop)
    talks = send_logins(shop, 4)
    assert reasons([talk.answer() for talk in talks]) == ["SUCCESS"] * 4
    assert threads(shop) == before + limit


# Time.


def test_a_client_that_never_logs_in_times_out(start_small: StartShop) -> None:
    shop = start_small("memory", "--login-seconds", "0.3")
    silent, talkative = shop.connect(), shop.connect()
    began = time.monotonic()
    while (answer := talkative.ask("GET_PRODUCTS"))["data"]["reason"] == "NOT_AUTHENTICATED":
        assert time.monotonic() - began < 10
    assert answer["data"]["message"] == "no login within 0.3 s"
    assert_timed_out(silent, "no login within 0.3 s")


def test_a_client_that_logs_in_slowly_is_waited_for(
    slow_logins: str, start_shop: StartShop
) -> None:
    """The shop itself takes longer for the password than the client may."""
    flags = ("--catalogue", slow_logins, "--login-seconds", "0.05", "--login-threads", "1")
    shop = start_shop("memory", *flags)
    talks = send_logins(shop, 3)
    assert reasons([talk.answer() for talk in talks]) == ["SUCCESS"] * 3


def drip(talks: Sequence[Talk], ended: threading.Event) -> None:
    """Send a request that has no end, a byte at a time, until the shop hangs up."""
    for byte in itertools.chain(b'{"code":"', itertools.repeat(ord("x"))):
        for talk in talks:
            try:
                talk.send_bytes(bytes([byte]))
            except OSError:
                return
        if ended.wait(0.02):
            return


def test_a_frame_that_drips_in_times_out_however_many_drip(start_small: StartShop) -> None:
    shop = start_small("memory", "--frame-seconds", "0.4")
    talks = [shop.login(f"u{i}", "secret") for i in range(20)]
    ended = threading.Event()
    dripping = threading.Thread(target=drip, args=(talks, ended))
    dripping.start()
    try:
        assert_serves(shop)
        for talk in talks:
            answer = talk.answer()["data"]
            assert answer["reason"] == "TIMED_OUT"
            assert answer["message"] == "the rest of the frame did not come within 0.4 s"
    finally:
        ended.set()
        dripping.join()
    assert_serves(shop)


def test_frames_that_come_in_time_never_time_out_however_they_are_cut(
    start_small: StartShop,
) -> None:
    """There is always a frame begun, but none for long."""
    shop = start_small("memory", "--frame-seconds", "0.3")
    talk = shop.login("u0", "secret")
    frame = request("GET_PRODUCTS")
    began = time.monotonic()
    talk.send_bytes(frame[:5])
    while time.monotonic() - began < 0.9:
        talk.send_bytes(frame[5:] + frame[:5])
        assert talk.answer()["code"] == "PRODUCTS_LIST"


def test_an_order_whose_end_does_not_come_times_out_and_is_not_placed(
    start_small: StartShop,
) -> None:
    shop = start_small("memory", "--order-seconds", "0.3")
    talk = shop.login("u0", "secret")
    item = request("NEW_ORDER_ITEM", end_of_data=False, productName="Ball", quantity=1)
    ended = threading.Event()
    sending = threading.Thread(target=send_items, args=(talk, item, ended))
    sending.start()
    answer = talk.answer()["data"]
    ended.set()
    sending.join()
    assert (answer["reason"], answer["retryable"]) == ("TIMED_OUT", True)
    assert answer["message"] == "the rest of the order did not come within 0.3 s"
    assert shop.login("u0", "secret").stock() == {"Ball": 1_000_000, "Bat": 1_000_000}


def send_items(talk: Talk, item: bytes, ended: threading.Event) -> None:
    """Send up to 100 items, which takes 5 s if nobody objects."""
    for _ in range(100):
        try:
            talk.send_bytes(item)
        except OSError:
            return
        if ended.wait(0.05):
            return


def test_orders_that_come_in_time_never_time_out_however_they_are_cut(
    start_small: StartShop,
) -> None:
    """There is always an order begun, but none for long."""
    shop = start_small("memory", "--order-seconds", "0.3")
    talk = shop.login("u0", "secret")
    first = request("NEW_ORDER_ITEM", end_of_data=False, productName="Ball", quantity=1)
    began = time.monotonic()
    talk.send_bytes(first)
    while time.monotonic() - began < 0.9:
        talk.send_bytes(order() + first)
        assert talk.answer()["code"] == "SUCCESS"


def test_a_silent_client_times_out_and_one_that_speaks_does_not(start_small: StartShop) -> None:
    shop = start_small("memory", "--idle-seconds", "0.3")
    silent, lively = shop.login("u0", "secret"), shop.login("u1", "secret")
    began = time.monotonic()
    while not readable_now(silent):
        assert lively.ask("GET_PRODUCTS")["code"] == "PRODUCTS_LIST"
        assert time.monotonic() - began < 10
    assert time.monotonic() - began > 0.15
    assert_timed_out(silent, "nothing came for 0.3 s")
    assert lively.ask("GET_PRODUCTS")["code"] == "PRODUCTS_LIST"


def readable_now(talk: Talk) -> bool:
    return bool(select.select([talk.socket], [], [], 0)[0])


def test_a_client_whose_order_waits_for_the_disk_is_not_silent(
    start_small: StartShop, disk: Disk
) -> None:
    shop = start_small("sqlite", "--idle-seconds", "0.3", env=disk.env)
    silent, waiting = shop.login("u0", "secret"), shop.login("u1", "secret")
    with disk.held():
        waiting.send_bytes(order())
        assert_timed_out(silent, "nothing came for 0.3 s")
        late = shop.login("u2", "secret")
        assert_timed_out(late, "nothing came for 0.3 s")
    assert waiting.answer()["code"] == "SUCCESS"
    assert_timed_out(waiting, "nothing came for 0.3 s")


# Clients that do not read.


def memory_mib(shop: ShopProcess) -> float:
    status = Path(f"/proc/{shop.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1024


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="needs /proc for the memory"
)


@needs_proc
@pytest.mark.parametrize(
    "limits",
    [("--unread-bytes-max", "100000"), ("--unread-total-bytes-max", "500000")],
    ids=["each", "together"],
)
def test_clients_that_read_no_answers_are_not_read_from_and_slow_down_nobody(
    limits: tuple[str, str], start_small: StartShop
) -> None:
    shop = start_small("memory", "--unread-seconds", "1", *limits)
    before = memory_mib(shop)
    clients = [Deaf(shop, f"u{i}", order("nothing") * 1_000) for i in range(8)]
    peak = 0.0
    deadline = time.monotonic() + 20
    while not all(client.is_cut_off() for client in clients):
        assert time.monotonic() < deadline
        for client in clients:
            client.push()
        assert_serves(shop)
        peak = max(peak, memory_mib(shop))
    assert peak - before < 15
    shop.stop()
    assert " cut_off=8" in shop.log


def test_a_client_that_reads_however_slowly_gets_every_answer(start_small: StartShop) -> None:
    """What waits for it grows beyond every bound at times; it is never cut off for that."""
    shop = start_small("memory", "--unread-bytes-max", "20000", "--unread-seconds", "2")
    talk = shop.login("u0", "secret")
    sending = threading.Thread(target=talk.send_bytes, args=(order() * 30_000,))
    sending.start()
    answers: list[int] = []
    while len(answers) < 30_000:
        answers.append(talk.answer()["data"]["order"])
        if len(answers) % 1_000 == 0:
            time.sleep(0.01)  # so that the shop is the faster one
    sending.join()
    assert answers == list(range(1, 30_001))
    shop.stop()
    assert " cut_off=0" in shop.log


def test_a_client_that_reads_all_the_time_is_not_taken_for_one_that_does_not(
    start_small: StartShop,
) -> None:
    """The kernel holds megabytes for it, and takes more only when much of that is gone."""
    shop = start_small("memory", "--unread-seconds", "0.5")
    talk = shop.login("u0", "secret")
    talk.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    talk.socket.settimeout(5)
    asking = threading.Thread(target=send_until_closed, args=(talk, order("nothing") * 100_000))
    asking.start()
    began = time.monotonic()
    while time.monotonic() - began < 2:
        assert talk.socket.recv(2_000)
        time.sleep(0.02)
    talk.socket.shutdown(socket.SHUT_RDWR)
    asking.join()
    talk.socket.close()
    eventually(lambda: shop.login("u1", "secret").stock())
    shop.stop()
    assert " cut_off=0" in shop.log


def send_until_closed(talk: Talk, payload: bytes) -> None:
    with suppress(OSError):
        talk.send_bytes(payload)


@pytest.mark.parametrize(
    "asked", [request("GET_PRODUCTS"), order("nothing")], ids=["list", "order"]
)
def test_a_client_that_takes_nothing_for_too_long_is_cut_off(
    asked: bytes, start_small: StartShop, tmp_path: Path
) -> None:
    flags = ("--unread-seconds", "0.4", "--unread-bytes-max", "100000000")
    shop = start_small("memory", *flags)
    client = Deaf(shop, "u0", asked * 1_000)
    began = time.monotonic()
    while not client.is_cut_off():
        assert time.monotonic() - began < 20
        client.push()
        assert_serves(shop)
    assert time.monotonic() - began > 0.2
    shop.stop()
    assert " cut_off=1" in shop.log


# Frames.


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_a_frame_of_65536_bytes_is_taken_and_one_more_is_too_long(
    end: bytes, start_small: StartShop
) -> None:
    shop = start_small("memory")
    longest = b'{"code":"GET_PRODUCTS"}'.ljust(FRAME_BYTES_MAX - len(end)) + end
    talk = shop.login("u0", "secret")
    talk.send_bytes(longest * 3)
    assert reasons([talk.answer() for _ in range(3)]) == ["PRODUCTS_LIST"] * 3
    talk.send_bytes(longest + b" " + longest)
    assert talk.answer()["code"] == "PRODUCTS_LIST"
    last = said_last(talk)
    assert (last["reason"], last["retryable"]) == ("FRAME_TOO_LONG", False)
    assert "65536 bytes" in last["message"]


def test_a_frame_without_an_end_is_refused_at_65536_bytes(start_small: StartShop) -> None:
    talk = start_small("memory").connect()
    talk.send_bytes(b"x" * (FRAME_BYTES_MAX - 1))
    assert not select.select([talk.socket], [], [], 0.1)[0]
    talk.send_bytes(b"x")
    assert said_last(talk)["reason"] == "FRAME_TOO_LONG"


GARBAGE = {
    "zeros": bytes(1_000) + b"\n",
    "every byte": bytes(range(256)) + b"\n",
    "HTTP": b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(50) + b"\n",
    "nesting": b"[" * 60_000 + b"\n",
    "nested data": b'{"code":"GET_ORDERS","data":' + b'{"a":' * 10_000 + b"\n",
    "a number without end": b'{"code":' + b"9" * 60_000 + b"}\n",
    "half a surrogate": b'{"code":"AUTHENTICATION","data":{"user":"\\ud800","password":"x"}}\n',
    "overlong UTF-8": b'{"code":"\xc0\x80"}\n',
    "pickle": b"cos\nsystem\n(S'true'\ntR.\n",
    "nothing": b"\n",
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_is_malformed_line_by_line_and_harms_nobody(
    kind: str, garbled_shop: ShopProcess
) -> None:
    talk = garbled_shop.connect()
    talk.send_bytes(GARBAGE[kind])
    lines = GARBAGE[kind].count(b"\n")
    assert reasons([talk.answer() for _ in range(lines)]) == ["MALFORMED_MESSAGE"] * lines
    assert talk.ask("AUTHENTICATION", user="user1", password="senha")["code"] == "SUCCESS"


@pytest.fixture(scope="module")
def garbled_shop() -> Iterator[ShopProcess]:
    shop = ShopProcess("memory:")
    yield shop
    assert shop.stop() == 0
    assert_no_fault(shop)


def assert_no_fault(shop: ShopProcess) -> None:
    assert "Traceback" not in shop.log, shop.log
    assert "ERROR" not in shop.log, shop.log


# Clients that go.


def reset(talk: Talk) -> None:
    """Close so that the other side gets a reset in place of an end."""
    talk.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    talk.socket.close()


LOGIN = request("AUTHENTICATION", user="u1", password="secret")
MIDDLES = {
    "nothing said": b"",
    "a login": LOGIN,
    "a frame": LOGIN + order()[:20],
    "an order of items": LOGIN + ITEM,
    "waiting orders": LOGIN + order() * 50,
    "orders beyond the limit": LOGIN + order() * 1_500,
    "a question behind orders": LOGIN + order() * 50 + request("GET_ORDERS"),
    "lists": LOGIN + request("GET_PRODUCTS") * 2_000,
    "a frame too long": LOGIN + b"x" * 70_000,
    "wrong logins": request("AUTHENTICATION", user="u1", password="wrong") * 5,
    "garbage": LOGIN + b"\0\n" * 500,
}


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_clients_that_reset_in_the_middle_of_anything_leave_no_trace_in_the_log(
    level: str, start_small: StartShop, disk: Disk
) -> None:
    shop = start_small("sqlite", "--log-level", level, env=disk.env)
    waiting = shop.login("u0", "secret")
    with disk.held():
        waiting.send_bytes(order())
        disk.await_waiting()
        for said in MIDDLES.values():
            for heard in (0, 1):
                talk = shop.connect()
                talk.send_bytes(said)
                if heard and said:
                    talk.answer()
                reset(talk)
    assert waiting.answer()["data"]["order"] == 1
    assert_serves(shop)
    assert shop.stop() == 0
    assert_no_fault(shop)


def test_orders_of_a_client_that_went_are_placed_whole(start_small: StartShop, disk: Disk) -> None:
    shop = start_small("sqlite", env=disk.env)
    first = shop.login("u0", "secret")
    with disk.held():
        first.send_bytes(order("Bat"))
        disk.await_waiting()
        gone = shop.login("u1", "secret")
        gone.send_bytes((ITEM + order("Bat")) * 20 + ITEM)
        sent_after = shop.login("u2", "secret")
        sent_after.send_bytes(order("Bat"))
        reset(gone)
    assert first.answer()["data"]["order"] == 1
    assert sent_after.answer()["code"] == "SUCCESS"
    placed = shop.login("u1", "secret").orders()
    assert [[item["quantity"] for item in order["items"]] for order in placed] == [[1, 1]] * 20
    assert first.stock() == {"Ball": 999_980, "Bat": 999_978}


@pytest.mark.parametrize("kind", ["memory", "csv", "sqlite"])
def test_a_client_that_sends_no_more_still_gets_every_answer(
    kind: str, start_small: StartShop
) -> None:
    """As `nc` does with its input piped in."""
    talk = start_small(kind).connect()
    talk.send_bytes(LOGIN + order() * 300 + request("GET_PRODUCTS") + order("nothing") + b"{")
    talk.socket.shutdown(socket.SHUT_WR)
    answers = talk.rest()
    expected = ["SUCCESS"] * 301 + ["PRODUCTS_LIST", "PRODUCT_NOT_FOUND"]
    assert reasons(answers) == expected
    assert answers[301]["data"]["products"][0]["stockQuantity"] == 999_700
