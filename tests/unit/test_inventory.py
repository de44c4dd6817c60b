"""Group commit: who is told what and when, and that the Semaphore is needed."""

from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext
from threading import Event as ThreadEvent
from threading import get_ident

import gevent
import pytest
from gevent.threadpool import ThreadPool

from sportshop.catalogue import Catalogue
from sportshop.inventory import Bounds, Inventory, LedgerTime
from sportshop.orders import (
    Accepted,
    Decisions,
    InsufficientStock,
    Item,
    KeyOfUser,
    NotNow,
    Order,
    Outcome,
    Receipt,
)
from sportshop.products import Product
from sportshop.storage.interface import StorageFailed, StoreBusy, StoreFull
from sportshop.storage.memory import MemoryStore, MemoryTransaction
from sportshop.users import NewUser, User
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
        self.full_at: str | None = None
        self.unreadable: set[str] = set()

    def begin(self) -> "SlowTransaction":
        if self.busy:
            self.busy -= 1
            raise StoreBusy
        return SlowTransaction(self)


class SlowTransaction(MemoryTransaction):
    def __init__(self, store: SlowStore) -> None:
        super().__init__(store.products, store.orders)
        self._store = store

    def receipts(self, keys: Collection[tuple[User, str]]) -> dict[KeyOfUser, Receipt]:
        if self._store.unreadable & {key for _, key in keys}:
            raise StorageFailed("database disk image is malformed")
        return super().receipts(keys)

    def write(self, decisions: Decisions) -> None:
        if self._store.full_at == "write":
            raise StoreFull
        super().write(decisions)

    def commit(self) -> None:
        assert self._store.may_finish.wait(10)
        if self._store.full_at == "commit":
            raise StoreFull
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

    def __init__(self, stock: int = 1_000, **bounds: int) -> None:
        self.store = SlowStore(stock)
        self.in_doubt: list[Shopper] = []
        self.inventory = Inventory(
            self.store,
            lambda customers, _: self.in_doubt.extend(customers),
            lambda: 0,
            Bounds(**bounds),
        )
        self.user = self.store.users.find("user1")

    def order(self, quantity: int = 1, key: str | None = None) -> Order:
        assert self.user is not None
        return Order(self.user, (Item("Ball", quantity),), key)

    def basket(self, items: int) -> Order:
        assert self.user is not None
        return Order(self.user, (Item("Ball", 1),) * items)


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
    bench, shopper = make(waiting_orders=10, batch_orders=4), Shopper()
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


# What is known not to have been done.


@pytest.mark.parametrize("stage", ["write", "commit"])
def test_while_the_store_is_full_nothing_is_sold_and_the_rest_is_answered(
    stage: str, make: Callable[..., Bench], caplog: pytest.LogCaptureFixture
) -> None:
    bench, shopper = make(stock=5), Shopper()
    bench.inventory.place(bench.order(2, key="early"), shopper)
    assert bench.inventory.settle(5)
    bench.store.full_at = stage
    bench.store.may_finish.clear()
    asked = [(1, None), (2, "early"), (3, "early"), (2, "late"), (2, "late"), (4, None)]
    for quantity, key in asked:
        bench.inventory.place(bench.order(quantity, key), shopper)
    bench.store.may_finish.set()
    assert bench.inventory.settle(5)
    kinds = [type(outcome).__name__ for outcome in shopper.told[1:]]
    assert " ".join(kinds) == "NotNow Accepted OrderKeyReused NotNow NotNow InsufficientStock"
    again, short = shopper.told[2], shopper.told[6]
    assert isinstance(again, Accepted)
    assert (again.replayed, again.as_of) == (True, 1)
    assert isinstance(short, InsufficientStock)
    assert (short.available, short.as_of) == (3, 1)
    assert bench.inventory.failure is None
    bench.store.full_at = None
    bench.inventory.place(bench.order(3), shopper)
    assert bench.inventory.settle(5)
    last = shopper.told[-1]
    assert isinstance(last, Accepted)
    assert (last.as_of, last.receipt.items[0].stock) == (2, 0)
    assert [r.message for r in caplog.records if r.levelname == "WARNING"] == [
        "new orders are told BUSY"
    ]


def test_while_somebody_else_has_the_store_orders_are_told_so_and_the_shop_goes_on(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sportshop.inventory.BUSY_STORE_SECONDS_MAX", 0.05)
    bench, shopper = make(), Shopper()
    bench.store.busy = 1_000_000
    for _ in range(3):
        bench.inventory.place(bench.order(), shopper)
    assert bench.inventory.settle(5)
    bench.inventory.place(bench.order(), shopper)
    assert bench.inventory.settle(5)
    assert [type(outcome) for outcome in shopper.told] == [NotNow] * 4
    bench.store.busy = 0
    bench.inventory.place(bench.order(), shopper)
    assert bench.inventory.settle(5)
    assert isinstance(shopper.told[-1], Accepted)


@pytest.mark.parametrize("poisoned", [{0}, {7}, {2, 5}, set(range(8))])
def test_an_order_that_cannot_be_decided_harms_nobody_else(
    poisoned: set[int], make: Callable[..., Bench]
) -> None:
    """A fault of ours, or a damaged page that one order has to read."""
    bench, shopper = make(), Shopper()
    bench.store.unreadable = {f"k{i}" for i in poisoned}
    for i in range(8):
        bench.inventory.place(bench.order(key=f"k{i}"), shopper)
    assert bench.inventory.settle(5)
    assert {i for i, told in enumerate(shopper.told) if isinstance(told, NotNow)} == poisoned
    assert sum(isinstance(told, Accepted) for told in shopper.told) == 8 - len(poisoned)
    assert (bench.inventory.failure, bench.in_doubt) == (None, [])
    assert bench.store.products.snapshot().products[0].stock == 1_000 - 8 + len(poisoned)


@pytest.mark.parametrize("waiting", [0, 3])
def test_a_store_that_was_taken_away_ends_the_inventory(
    waiting: int, make: Callable[..., Bench]
) -> None:
    bench, shopper = make(), Shopper()
    for _ in range(waiting):
        bench.inventory.place(bench.order(), shopper)
    bench.inventory.lose(StorageFailed("shop.db is gone"))
    assert bench.inventory.settle(5)
    assert bench.in_doubt == [shopper] * waiting
    assert "shop.db is gone" in str(bench.inventory.failure)
    assert not bench.inventory.place(bench.order(), shopper)
    bench.inventory.lose(StorageFailed("still gone"))
    assert bench.inventory.settle(0)


def test_a_batch_that_was_committed_to_what_was_taken_away_is_in_doubt(
    make: Callable[..., Bench],
) -> None:
    bench, shopper = make(), Shopper()
    bench.store.may_finish.clear()
    bench.inventory.place(bench.order(), shopper)
    gevent.sleep(0.01)
    bench.inventory.lose(StorageFailed("shop.db is gone"))
    bench.store.may_finish.set()
    assert bench.inventory.settle(5)
    assert (bench.in_doubt, shopper.told) == ([shopper], [])


# What may wait.


def test_batches_and_what_waits_are_bounded_in_items_and_a_large_order_is_served_all_the_same(
    make: Callable[..., Bench],
) -> None:
    bench, shopper = make(waiting_items=10, batch_items=4), Shopper()
    bench.store.may_finish.clear()
    assert bench.inventory.place(bench.basket(20), shopper)  # nothing else waits
    gevent.sleep(0.01)
    taken = [bench.inventory.place(bench.basket(3), shopper) for _ in range(4)]
    assert taken == [True, True, True, False]
    assert bench.inventory.place(bench.order(), shopper)
    assert not bench.inventory.place(bench.order(), shopper)
    bench.store.may_finish.set()
    assert bench.inventory.settle(5)
    assert bench.store.commits == [1, 1, 1, 2]
    assert bench.inventory.place(bench.basket(3), shopper)


# The ledger's time.


class Clocks:
    """Two clocks that a test sets: one that can be put back, one that only goes forward."""

    def __init__(self) -> None:
        self.clock_ms, self.steady_s = 1_000_000, 50.0

    def pass_by(self, ms: int) -> None:
        self.clock_ms += ms
        self.steady_s += ms / 1000

    def of_ledger(self, newest_ms: int = 0) -> LedgerTime:
        return LedgerTime(newest_ms, lambda: self.clock_ms, lambda: self.steady_s)


@pytest.mark.parametrize("back_ms", [1, 500, 3_600_000, 999_999])
def test_the_ledgers_time_goes_on_where_the_clock_is_put_back(back_ms: int) -> None:
    clocks = Clocks()
    time = clocks.of_ledger()
    assert time.now_ms() == 1_000_000
    clocks.clock_ms -= back_ms
    told = []
    for _ in range(4):
        clocks.pass_by(100)
        told.append(time.now_ms())
    assert told == [max(1_000_000 + i * 100, 1_000_000 - back_ms + i * 100) for i in (1, 2, 3, 4)]


def test_the_ledgers_time_follows_the_clock_where_it_is_put_ahead_and_does_not_come_back() -> None:
    clocks = Clocks()
    time = clocks.of_ledger()
    clocks.clock_ms += 10_000
    assert time.now_ms() == 1_010_000
    clocks.clock_ms -= 10_000
    clocks.pass_by(5)
    assert time.now_ms() == 1_010_005


def test_after_a_start_the_ledgers_time_is_not_before_its_newest_entry() -> None:
    clocks = Clocks()
    time = clocks.of_ledger(newest_ms=2_000_000)
    clocks.pass_by(250)
    assert time.now_ms() == 2_000_250


# A store that is busy.


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


class ManyDisks:
    """Waits for several commits at once, which a Disk does not: it is made for one committer."""

    def __init__(self) -> None:
        self._pool = ThreadPool(10)

    def wait_for(self, commit: Callable[[], None]) -> None:
        self._pool.apply(commit)

    def close(self) -> None:
        self._pool.kill()


def test_without_the_semaphore_they_oversell() -> None:
    bench = Bench(stock=3)
    bench.inventory._stock_guard = nullcontext()
    bench.inventory._disk = ManyDisks()  # type: ignore[assignment]
    sold, left = sell_the_last(bench, committers=10)
    assert sold > 3
    assert left == 2  # and "stock never negative" alone would not have noticed
