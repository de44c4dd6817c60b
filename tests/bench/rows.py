"""The rows of the benchmark: each a figure of the shop beside a ceiling from the same run.

A row is measured several times, shop and ceiling in turn, so that what the machine does meanwhile
meets both. Each connection has a user of its own; SQLite with a sync for every batch, as it comes.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from sportshop.catalogue import read_catalogue
from sportshop.client import connect
from sportshop.orders import Item, Order, decide
from sportshop.storage import open_store
from sportshop.users import User
from tests.bench import programs, steps
from tests.bench.programs import KEYED_ORDER, LOGIN, ORDER, Load
from tests.catalogues import CHEAP_HASH

PRODUCTS = 60
USERS = 100_000
LARGE_ORDERS = 2_000_000
STOCK = 900_000_000
IDLE_CLIENTS = 5_000
KIB = 1024


class Sample(NamedTuple):
    """One measurement: the shop's figure, what it is held against, and their ratio."""

    shop: float
    ceiling: float

    @property
    def ratio(self) -> float:
        return self.shop / self.ceiling


class Bench(NamedTuple):
    """What the rows need."""

    folder: Path
    catalogue: Path
    load: Load
    generator: Path
    seconds: float
    repeats: int

    def store(self, name: str, kind: str = "sqlite") -> str:
        """Return the URL of a new store."""
        return f"{kind}:{self.folder / name}-{time.monotonic_ns()}"


class Row(NamedTuple):
    """A line of the table."""

    name: str
    title: str
    goal: float
    at_least: bool
    unit: str
    measure: Callable[[Bench], Iterator[Sample]]

    def reached(self, ratio: float) -> bool:
        return ratio >= self.goal if self.at_least else ratio <= self.goal


def write_catalogue(folder: Path) -> Path:
    """Write 60 products without end and 100,000 users with hashes that cost nothing."""
    folder.mkdir()
    names = ["Football", *(f"Sporting Good No {i}" for i in range(1, PRODUCTS))]
    rows = "".join(f"{name},149.90,{STOCK}\n" for name in names)
    (folder / "products.csv").write_text("name,price,stockQuantity\n" + rows)
    rows = "".join(f'u{i},"{CHEAP_HASH}"\n' for i in range(USERS))
    (folder / "users.csv").write_text("user,passwordHash\n" + rows)
    return folder


def make_large_store(bench: Bench) -> str:
    """Make a store of 2,000,000 orders of 100,000 users, once a run."""
    path = bench.folder / "large.db"
    url = f"sqlite:{path}"
    if path.exists():
        return url
    store = open_store(url, lambda: read_catalogue(bench.catalogue))
    users = [store.users.find(f"u{i}") for i in range(USERS)]
    items = (Item("Football", 1),)
    for start in range(0, LARGE_ORDERS, 10_000):
        orders = [Order(_some(users, i * 7_919), items) for i in range(start, start + 10_000)]
        transaction = store.begin()
        products = transaction.products({"Football"})
        transaction.write(decide(orders, products, {}, transaction.taken, start))
        transaction.commit()
        transaction.publish()
    store.close()
    return url


def _some(users: list[User | None], number: int) -> User:
    user = users[number % len(users)]
    assert user is not None
    return user


def _in_turn(
    bench: Bench, shop: Callable[[], float], ceiling: Callable[[], float]
) -> Iterator[Sample]:
    for _ in range(bench.repeats):
        below = ceiling()
        yield Sample(shop(), below)


def _rate(bench: Bench, port: int, request: str, **options: Any) -> float:
    return float(bench.load(port, request, seconds=bench.seconds, **options)["per_s"])


def _orders(bench: Bench, port: int, request: str = ORDER, **options: Any) -> float:
    found = bench.load(port, request, seconds=bench.seconds, login=LOGIN, **options)
    if found["success"] != found["answers"]:
        raise RuntimeError(f"{found['answers'] - found['success']} orders were refused")
    return float(found["per_s"])


def orders_beside_echo(connections: int) -> Callable[[Bench], Iterator[Sample]]:
    def measure(bench: Bench) -> Iterator[Sample]:
        with (
            programs.shop(bench.store("echo"), bench.catalogue) as shop,
            programs.echo() as echo,
        ):
            yield from _in_turn(
                bench,
                lambda: _orders(bench, shop.port, connections=connections),
                lambda: _rate(bench, echo.port, ORDER, connections=connections),
            )

    return measure


def limit_at_50_connections(bench: Bench) -> Iterator[Sample]:
    """The orders/s if one core did what the echo does and what an order needs, and nothing else.

    Neither waiting nor scheduling is in it: what is between this and `echo-50` is all that is
    left to gain without making the steps themselves cheaper. See steps.py.
    """
    with programs.echo() as echo:
        for _ in range(bench.repeats):
            echoes = _rate(bench, echo.port, ORDER, connections=50)
            order_s = sum(steps.measure(bench.folder, bench.catalogue, 50)) / 50
            yield Sample(1 / (1 / echoes + order_s), echoes)


def orders_beside_redis(connections: int, depth: int) -> Callable[[Bench], Iterator[Sample]]:
    def measure(bench: Bench) -> Iterator[Sample]:
        load = {"connections": connections, "depth": depth}
        with (
            programs.shop(bench.store("redis"), bench.catalogue) as shop,
            programs.redis(bench.folder) as (redis, sell),
        ):
            yield from _in_turn(
                bench,
                lambda: _orders(bench, shop.port, **load),
                lambda: _rate(bench, redis.port, sell, **load),
            )

    return measure


def keyed_orders(bench: Bench) -> Iterator[Sample]:
    with (
        programs.shop(bench.store("keyed"), bench.catalogue) as keyed,
        programs.shop(bench.store("plain"), bench.catalogue) as plain,
    ):
        yield from _in_turn(
            bench,
            lambda: _orders(bench, keyed.port, KEYED_ORDER, connections=1_000),
            lambda: _orders(bench, plain.port, connections=1_000),
        )


def baskets(bench: Bench) -> Iterator[Sample]:
    item = '{"code":"NEW_ORDER_ITEM","data":{"productName":"Sporting Good No %d","quantity":1}%s}'
    ends = [',"endOfData":false'] * 9 + [""]
    basket = "\\n".join(item % (i, end) for i, end in enumerate(ends, 1))
    with programs.shop(bench.store("baskets"), bench.catalogue) as shop:
        yield from _in_turn(
            bench,
            lambda: 10 * _orders(bench, shop.port, basket, connections=1_000),
            lambda: _orders(bench, shop.port, connections=1_000),
        )


def large_store(bench: Bench) -> Iterator[Sample]:
    with (
        programs.shop(make_large_store(bench), bench.catalogue) as large,
        programs.shop(bench.store("empty"), bench.catalogue) as empty,
    ):
        yield from _in_turn(
            bench,
            lambda: _orders(bench, large.port, connections=1_000),
            lambda: _orders(bench, empty.port, connections=1_000),
        )


def csv_store(bench: Bench) -> Iterator[Sample]:
    with (
        programs.shop(bench.store("csv", "csv"), bench.catalogue) as files,
        programs.shop(bench.store("sqlite"), bench.catalogue) as database,
    ):
        yield from _in_turn(
            bench,
            lambda: _orders(bench, files.port, connections=1_000),
            lambda: _orders(bench, database.port, connections=1_000),
        )


def start_up(bench: Bench) -> Iterator[Sample]:
    url = make_large_store(bench)
    for _ in range(bench.repeats):
        begun = time.monotonic()
        with programs.shop(url, bench.catalogue):
            yield Sample(time.monotonic() - begun, 1)


def idle_memory(bench: Bench) -> Iterator[Sample]:
    for _ in range(bench.repeats):
        with programs.shop(bench.store("idle"), bench.catalogue) as shop:
            with programs.idle_clients(bench.generator, shop.port, 200, LOGIN):
                pass  # what is allocated once is no connection's
            before = shop.memory_kib()
            with programs.idle_clients(bench.generator, shop.port, IDLE_CLIENTS, LOGIN):
                yield Sample((shop.memory_kib() - before) / IDLE_CLIENTS, 1)


def memory_after_orders(bench: Bench) -> Iterator[Sample]:
    """One long run: the orders have to be placed through the shop."""
    with programs.shop(bench.store("memory"), bench.catalogue) as shop:
        load = {"connections": 1_000, "depth": 8, "login": LOGIN}
        bench.load(shop.port, ORDER, seconds=2, **load)
        before, placed = shop.memory_kib(), 0
        while placed < LARGE_ORDERS:
            placed += bench.load(shop.port, ORDER, seconds=5, **load)["answers"]
        yield Sample((shop.memory_kib() - before) / KIB, 1)


def lone_order(bench: Bench) -> Iterator[Sample]:
    """p50 of an order alone, beside one fsync and one round trip of an echo."""

    def p50_ms(port: int, **options: Any) -> float:
        return float(bench.load(port, ORDER, seconds=bench.seconds, **options)["p50_ms"])

    with (
        programs.shop(bench.store("lone"), bench.catalogue) as shop,
        programs.echo() as echo,
    ):
        yield from _in_turn(
            bench,
            lambda: p50_ms(shop.port, login=LOGIN),
            lambda: p50_ms(echo.port) + fsync_ms(bench.folder),
        )


def fsync_ms(folder: Path) -> float:
    """Return the median time of appending 4 KiB to a file and syncing it."""
    times = []
    file = os.open(folder / "fsync", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for _ in range(1_000):
        begun = time.perf_counter()
        os.write(file, bytes(4096))
        os.fdatasync(file)
        times.append(time.perf_counter() - begun)
    os.close(file)
    return sorted(times)[500] * 1e3


def evenness(bench: Bench) -> Iterator[Sample]:
    with programs.shop(bench.store("even"), bench.catalogue) as shop:
        for _ in range(bench.repeats):
            load = bench.load(
                shop.port, ORDER, seconds=bench.seconds, connections=1_000, login=LOGIN
            )
            yield Sample(load["p99_ms"], load["p50_ms"])


def listing(
    request: str, store: Callable[[Bench], str], busy: bool
) -> Callable[[Bench], Iterator[Sample]]:
    def measure(bench: Bench) -> Iterator[Sample]:
        with ExitStack() as stack:
            shop = stack.enter_context(programs.shop(store(bench), bench.catalogue))
            answer = answer_bytes(shop.port, request)
            echo = stack.enter_context(programs.echo(answer))
            yield from _in_turn(
                bench,
                lambda: _lists(bench, shop.port, request, busy),
                lambda: _rate(bench, echo.port, request, connections=50),
            )

    return measure


def _lists(bench: Bench, port: int, request: str, busy: bool) -> float:
    """Return lists/s; `busy` has 50 other connections order at full speed meanwhile."""
    if not busy:
        return _rate(bench, port, request, connections=50, login=LOGIN)
    with ThreadPoolExecutor(1) as beside:
        orders = beside.submit(_orders, bench, port, connections=50)
        found = _rate(bench, port, request, connections=50, login=LOGIN)
        orders.result()
    return found


def answer_bytes(port: int, request: str) -> int:
    with connect("127.0.0.1", port) as client:
        client.authenticate("u7", "secret")
        before = client.bytes_received
        client.send_request(*_code_and_data(request))
        client.receive_answer()
        return client.bytes_received - before


def _code_and_data(request: str) -> tuple[Any, dict[str, Any]]:
    message = json.loads(request)
    return message["code"], message.get("data", {})


def new_store(bench: Bench) -> str:
    return bench.store("lists")


PRODUCTS_REQUEST = '{"code":"GET_PRODUCTS"}'
ORDERS_REQUEST = '{"code":"GET_ORDERS","data":{"limit":20}}'
ROWS = [
    *(
        Row(f"echo-{n}", f"orders/s ÷ the echo's, {n:,} connections", goal, True, "/s",
            orders_beside_echo(n))
        for n, goal in ((50, 0.60), (1_000, 0.95), (10_000, 1.05))
    ),
    Row("limit-50", "the most echo-50 can reach: echo + steps, each alone", 0.60, True, "/s",
        limit_at_50_connections),
    *(
        Row(f"redis-{n}", f"orders/s ÷ Redis, {n:,} connections", goal, True, "/s",
            orders_beside_redis(n, 1))
        for n, goal in ((1, 0.9), (50, 1.05), (1_000, 1.05))
    ),
    Row("redis-deep", "orders/s ÷ Redis, 50 connections, 16 in flight", 0.85, True, "/s",
        orders_beside_redis(50, 16)),
    Row("keyed", "orders/s with a UUIDv7 key ÷ without", 0.9, True, "/s", keyed_orders),
    Row("baskets", "items/s in orders of 10 ÷ orders/s of one", 2.5, True, "/s", baskets),
    Row("large", "orders/s with 2,000,000 in the store ÷ empty", 0.95, True, "/s", large_store),
    Row("csv", "orders/s on CSV ÷ on SQLite", 1.0, True, "/s", csv_store),
    Row("start", "seconds to start with 2,000,000 orders", 1.0, False, "s", start_up),
    Row("idle", "KiB of memory for a client that is idle", 12, False, "KiB", idle_memory),
    Row("memory", "MiB of memory more after 2,000,000 orders", 40, False, "MiB",
        memory_after_orders),
    Row("lone", "a lone order's p50 ÷ (an fsync + an echo)", 1.3, False, "ms", lone_order),
    Row("even", "p99 ÷ p50 of orders, 1,000 connections", 2, False, "ms", evenness),
    Row("products", "GET_PRODUCTS/s beside orders ÷ echo of as many bytes", 0.6, True, "/s",
        listing(PRODUCTS_REQUEST, new_store, busy=True)),
    Row("history", "GET_ORDERS/s (20 of 2,000,000) ÷ echo of as many bytes", 0.4, True, "/s",
        listing(ORDERS_REQUEST, make_large_store, busy=False)),
]  # fmt: skip
