"""Group commit: who is told what and when, and that the Semaphore is needed."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from threading import Event as ThreadEvent
from threading import get_ident

import gevent
import pytest

from sportshop.catalogue import Catalogue
from sportshop.inventory import Inventory
from sportshop.orders import Accepted, InsufficientStock, Item, Order, Outcome
from sportshop.products import Product
from sportshop.storage.interface import StorageFailed, StoreBusy
from sportshop.storage.memory import MemoryStore, MemoryTransaction
from sportshop.users import NewUser
from tests.catalogues import CHEAP_HASH


class SlowStore(MemoryStore):
    """A store whose disk a test holds back, or breaks."""

    def __init__(self, stock: int = 1_000) -> None:
        super().__init__(Catalogue([Product("Ball", 100, stock)], [NewUser("user1", CHEAP_HASH)]))
        self.may_finish = ThreadEvent()
        self.may_finish.set()
        self.commits: list[int] = []
        self.committed_in: set[int] = set()
        self.breaks_with: Exception | None = None
        self.busy = 0

    def begin(self) -> "SlowTransaction":
        if self.busy:
            self.busy -= 1
            raise StoreBusy
        return SlowTransaction(self)


class SlowTransaction(MemoryTransaction):
    def __init__(self, store: SlowStore) -> None:
        super().__init__(store.products, store.orders)
        self._store = store

    def commit(self) -> None:
        assert self._store.may_finish.wait(10)
        self._store.committed_in.add(get_ident())
        if self._store.breaks_with:
            raise self._store.breaks_with
        self._store.commits.append(len(self._decisions.receipts))


class Shopper:
    """A customer that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[Outcome] = []
        self.flushed: list[int] = []

    def collect(self, outcome: Outcome) -> bool:
        self.told.append(outcome)
        return len(self.told) - sum(self.flushed) == 1

    def flush(self) -> None:
        self.flushed.append(len(self.told) - sum(self.flushed))


class Bench:
    """An inventory over a slow store."""

    def __init__(self, waiting_max: int = 100, batch_max: int = 100, stock: int = 1_000) -> None:
        self.store = SlowStore(stock)
        self.in_doubt: list[Shopper] = []
        self.inventory = Inventory(
            self.store,
            lambda customers, _: self.in_doubt.extend(customers),
            lambda: 0,
            waiting_max,
            batch_max,
        )
        self.user = self.store.users.find("user1")

    def order(self, quantity: int = 1, key: str | None = None) -> Order:
        assert self.user is not None
        return Order(self.user, (Item("Ball", quantity),), key)


@pytest.fixture
def make() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(*args: int, **options: int) -> Bench:
        made.append(Bench(*args, **options))
        made[-1].inventory.start()
        return made[-1]

    yield make
    for bench in made:
        bench.store.may_finish.set()
        bench.inventory.close()


def test_orders_that_arrive_during_a_commit_are_the_next_batch(make: Callable[..., Bench]) -> None:
    bench, shopper = make(), Shopper()
    bench.store.may_finish.clear()
    bench.inventory.place(bench.order(), shopper)
    gevent.sleep(0.01)  # the first commit is under way
    for _ in range(5):
        bench.inventory.place(bench.order(), shopper)
    gevent.sleep(0.01)
    assert shopper.told == []
    bench.store.may_finish.set()
    assert bench.inventory.settle(5)
    assert bench.store.commits == [1, 5]
    assert shopper.flushed == [1, 5]
    positions = [o.receipt.position for o in shopper.told if isinstance(o, Accepted)]
    assert positions == [1, 2, 3, 4, 5, 6]


def test_nobody_is_told_before_it_is_durable_and_readers_see_nothing(
    make: Callable[..., Bench],
) -> None:
    bench, shopper = make(), Shopper()
    bench.store.may_finish.clear()
    bench.inventory.place(bench.order(999), shopper)
    bench.inventory.place(bench.order(2), shopper)  # refused, but because of what is not durable
    assert not bench.inventory.settle(0.05)
    assert shopper.told == []
    assert bench.store.products.snapshot().products[0].stock == 1_000
    bench.store.may_finish.set()
    assert bench.inventory.settle(5)
    assert [type(outcome) for outcome in shopper.told] == [Accepted, InsufficientStock]


def test_the_disk_is_waited_for_in_another_thread(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.inventory.place(bench.order(), Shopper())
    assert bench.inventory.settle(5)
    assert get_ident() not in bench.store.committed_in


def test_a_batch_in_which_nothing_is_sold_costs_no_commit(make: Callable[..., Bench]) -> None:
    bench, shopper = make(), Shopper()
    bench.inventory.place(bench.order(5_000), shopper)
    assert bench.inventory.settle(5)
    assert (len(shopper.told), bench.store.commits) == (1, [])


def test_too_many_waiting_orders_are_refused_and_batches_are_bounded(
    make: Callable[..., Bench],
) -> None:
    bench, shopper = make(waiting_max=10, batch_max=4), Shopper()
    bench.store.may_finish.clear()
    bench.inventory.place(bench.order(), shopper)
    gevent.sleep(0.01)
    taken = [bench.inventory.place(bench.order(), shopper) for _ in range(12)]
    assert taken == [True] * 10 + [False] * 2
    bench.store.may_finish.set()
    assert bench.inventory.settle(5)
    assert bench.store.commits == [1, 4, 4, 2]


def test_a_failed_commit_acknowledges_nothing_and_ends_the_inventory(
    make: Callable[..., Bench],
) -> None:
    bench, first, second = make(), Shopper(), Shopper()
    bench.store.breaks_with = OSError(28, "No space left on device")
    bench.store.may_finish.clear()
    bench.inventory.place(bench.order(), first)
    gevent.sleep(0.01)
    bench.inventory.place(bench.order(), second)
    bench.store.may_finish.set()
    assert bench.inventory.settle(5)
    assert bench.in_doubt == [first, second]
    assert first.told == second.told == []
    assert bench.store.products.snapshot().products[0].stock == 1_000
    assert isinstance(bench.inventory.failure, StorageFailed)
    assert "No space left on device" in str(bench.inventory.failure)
    assert not bench.inventory.place(bench.order(), first)


def test_a_store_that_is_busy_for_a_moment_is_waited_for(make: Callable[..., Bench]) -> None:
    bench, shopper = make(), Shopper()
    bench.store.busy = 3
    bench.inventory.place(bench.order(), shopper)
    assert bench.inventory.settle(5)
    assert isinstance(shopper.told[0], Accepted)


def sell_the_last(bench: Bench, committers: int) -> tuple[int, int]:
    """Let several greenlets commit at once; return how many were told SUCCESS and what is left."""
    bench.store.may_finish.clear()
    racing = [
        gevent.spawn(bench.inventory.commit, [bench.order(key=f"k{i}")]) for i in range(committers)
    ]
    gevent.sleep(0.01)  # each that may has read the stock by now
    bench.store.may_finish.set()
    gevent.joinall(racing, raise_error=True, timeout=10)
    sold = sum(isinstance(outcome, Accepted) for race in racing for outcome in race.value)
    return sold, bench.store.products.snapshot().products[0].stock


def test_writers_that_race_for_the_last_units_sell_each_once() -> None:
    assert sell_the_last(Bench(stock=3), committers=10) == (3, 0)


def test_without_the_semaphore_they_oversell() -> None:
    bench = Bench(stock=3)
    bench.inventory._stock_guard = nullcontext()
    sold, left = sell_the_last(bench, committers=10)
    assert sold > 3
    assert left == 2  # and "stock never negative" alone would not have noticed
