"""Rows about neighbours: what shoppers feel while somebody else takes all that they can get.

A ratio is the shoppers' 99th percentile beside the misfit to the one without, in the same shop.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.bench import programs
from tests.bench.programs import LOGIN, Program
from tests.bench.rows import ORDERS_REQUEST, Bench, Row, Sample

SHOPPERS = 50
SILENT = 10_000
LONG_HISTORY = 20_000
BASKETS = 20_000
BASKET_ITEMS = 100
PIPELINED = 100_000
READ_BYTES_PER_S = 2_000_000
CSV_ORDERS = 1_000_000
MIB = 1024 * 1024

_Misfit = Callable[[Program, threading.Event], None]


def beside(misfit: _Misfit) -> Callable[[Bench], Iterator[Sample]]:
    """Measure shoppers beside a client that does something without pause."""

    def measure(bench: Bench) -> Iterator[Sample]:
        with programs.shop(bench.store("beside"), bench.catalogue) as shop:
            for _ in range(bench.repeats):
                without = _p99_ms(bench, shop)
                with _under_way(misfit, shop):
                    yield Sample(_p99_ms(bench, shop), without)

    return measure


def _p99_ms(bench: Bench, shop: Program) -> float:
    load = {"login": LOGIN, "connections": SHOPPERS, "seconds": bench.seconds}
    return float(bench.load(shop.port, programs.ORDER, **load)["p99_ms"])


@contextmanager
def _under_way(misfit: _Misfit, shop: Program) -> Iterator[None]:
    ended = threading.Event()
    thread = threading.Thread(target=misfit, args=(shop, ended))
    thread.start()
    time.sleep(0.5)
    try:
        yield
    finally:
        ended.set()
        thread.join()


def sends_rubbish(shop: Program, ended: threading.Event) -> None:
    """Send lines that are no messages, and read what the shop says of them."""
    with _connected(shop) as connected:
        _read_all(connected)
        while not ended.is_set():
            connected.sendall(b"x\n" * 4_000)


def lists_a_long_history(shop: Program, ended: threading.Event) -> None:
    """Ask for every order again and again."""
    with _connected(shop) as connected:
        _log_in(connected, "u99")
        order = programs.ORDER.encode() + b"\n"
        _exchange(connected, order * LONG_HISTORY, LONG_HISTORY)
        while not ended.is_set():
            _exchange(connected, ORDERS_REQUEST.encode() + b"\n", 1)


def _connected(shop: Program) -> socket.socket:
    return socket.create_connection(("127.0.0.1", shop.port), 60)


def _log_in(connected: socket.socket, user: str) -> None:
    _exchange(connected, LOGIN.replace("u%c", user).encode() + b"\n", 1)


def _exchange(connected: socket.socket, requests: bytes, answers: int) -> None:
    """Send requests and read until so many answers have ended."""
    sending = threading.Thread(target=connected.sendall, args=(requests,))
    sending.start()
    left, rest = answers, b""
    while left:
        received = connected.recv(1 << 18)
        if not received:
            raise RuntimeError(f"the shop hung up with {left} answers to give")
        lines = rest + received
        left -= lines.count(b'"endOfData":true}\n') - rest.count(b'"endOfData":true}\n')
        rest = lines[-20:]
    sending.join()


def _read_all(connected: socket.socket) -> None:
    def read() -> None:
        with suppress(OSError):  # it is closed at the end
            while connected.recv(1 << 18):
                pass

    threading.Thread(target=read, daemon=True).start()


def timed_out_together(number: str) -> Callable[[Bench], Iterator[Sample]]:
    """Measure shoppers while 10,000 clients that never say a word have their time over at once."""

    def measure(bench: Bench) -> Iterator[Sample]:
        load = {"login": LOGIN, "connections": SHOPPERS, "seconds": 8}
        for _ in range(bench.repeats):
            flags = ("--login-seconds", "6")
            with programs.shop(bench.store("silent"), bench.catalogue, *flags) as shop:
                without = _p99_ms(bench, shop)
                silent = [_connected(shop) for _ in range(SILENT)]
                found = bench.load(shop.port, programs.ORDER, **load)
                for connected in silent:
                    connected.close()
            yield Sample(found[number], without if number == "p99_ms" else 1)

    return measure


def memory_of_baskets(bench: Bench) -> Iterator[Sample]:
    """20,000 baskets of 100 items, and the list of them all."""
    item = (
        b'{"code":"NEW_ORDER_ITEM","data":{"productName":"Sporting Good No %d","quantity":1}%s}\n'
    )
    basket = b"".join(
        item % (1 + i % 50, b"" if i == BASKET_ITEMS - 1 else b',"endOfData":false')
        for i in range(BASKET_ITEMS)
    )
    for kind in ("sqlite", "csv"):
        with (
            programs.shop(bench.store("baskets", kind), bench.catalogue) as shop,
            _connected(shop) as connected,
        ):
            _log_in(connected, "u7")
            _exchange(connected, basket, 1)
            before = shop.memory_kib()
            for _ in range(BASKETS // 100):
                _exchange(connected, basket * 100, 100)
            _exchange(connected, b'{"code":"GET_ORDERS"}\n', 1)
            yield Sample((shop.memory_kib() - before) / 1024, 1)


def pipelined_and_read_slowly(bench: Bench) -> Iterator[Sample]:
    """100,000 orders sent at once, the answers read at 2 MB/s: as many come as were asked."""
    order = programs.ORDER.encode() + b"\n"
    with programs.shop(bench.store("pipelined"), bench.catalogue) as shop, _connected(shop) as own:
        _log_in(own, "u7")
        sending = threading.Thread(target=own.sendall, args=(order * PIPELINED,))
        sending.start()
        answers, begun, taken = 0, time.monotonic(), 0
        while answers < PIPELINED:
            received = own.recv(65_536)
            if not received:
                break
            answers += received.count(b"\n")
            taken += len(received)
            time.sleep(max(0.0, taken / READ_BYTES_PER_S - (time.monotonic() - begun)))
        sending.join()
        yield Sample(answers, PIPELINED)


def csv_start(bench: Bench) -> Iterator[Sample]:
    """Start on a ledger of 1,000,000 orders with keys, as after a kill."""
    folder = bench.folder / "long"
    url = f"csv:{folder}"
    with programs.shop(url, bench.catalogue) as shop:
        load = {"login": LOGIN, "connections": 1_000, "seconds": 10}
        while _lines(folder / "orders.csv") <= CSV_ORDERS:
            bench.load(shop.port, programs.KEYED_ORDER, **load)
        os.kill(shop.pid, 9)
    orders = _lines(folder / "orders.csv") - 1
    for _ in range(bench.repeats):
        begun = time.monotonic()
        with programs.shop(url, bench.catalogue) as shop:
            seconds = (time.monotonic() - begun) * CSV_ORDERS / orders
            yield Sample(seconds, 1)
            os.kill(shop.pid, 9)


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(MIB), b""))


ROWS = [
    Row("rubbish", "p99 beside one who sends rubbish ÷ without", 3, False, "ms",
        beside(sends_rubbish)),
    Row("long-lists", "p99 beside one who lists a long history ÷ without", 3, False, "ms",
        beside(lists_a_long_history)),
    Row("time-outs", "p99 while 10,000 clients time out together ÷ without", 10, False, "ms",
        timed_out_together("p99_ms")),
    Row("longest-wait", "the longest that one waits meanwhile", 1_000, False, "ms",
        timed_out_together("max_ms")),
    Row("baskets-mib", "memory of 20,000 baskets of 100 items and their list", 100, False, "MiB",
        memory_of_baskets),
    Row("slow-reader", "of 100,000 pipelined orders answered, read at 2 MB/s", 1, True, "",
        pipelined_and_read_slowly),
    Row("csv-start", "start on 1,000,000 orders in CSV, after a kill", 3, False, "s", csv_start),
]  # fmt: skip
