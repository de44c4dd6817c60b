"""The queue in front of the hashes: who is there comes first, and who hung up costs nothing."""

import threading
from collections.abc import Callable, Iterator

import gevent
import pytest

from sportshop import login_queue
from sportshop.login_queue import LoginQueue, TooManyLogins


class Client:
    """One who asks, and may hang up or be gone meanwhile."""

    def __init__(self, hung_up: bool = False) -> None:
        self.hung_up = hung_up
        self.gone = False
        self.looks = 0

    def __call__(self) -> bool:
        self.looks += 1
        if self.gone:
            raise ConnectionResetError
        return self.hung_up


class Hash:
    """Notes what is hashed, in which order; every hash waits until the test lets one go."""

    def __init__(self) -> None:
        self.of: list[str] = []
        self.may_finish = threading.Semaphore(0)
        self.fails: Exception | None = None

    def __call__(self, phc: str, password: str) -> bool:
        self.of.append(password)
        assert self.may_finish.acquire(timeout=10)
        if self.fails:
            raise self.fails
        return password == "right"


class Bench:
    """A queue of one thread, and those who wait in it."""

    def __init__(self, waiting_max: int) -> None:
        self.hash = Hash()
        self.queue = LoginQueue(self.hash, threads=1, waiting_max=waiting_max)

    def ask(self, password: str, client: Callable[[], bool] | None = None) -> gevent.Greenlet:
        """Ask, and return when the question waits or is answered."""
        asking = gevent.spawn(self._outcome, password, client or Client())
        gevent.sleep(0)
        return asking

    def _outcome(self, password: str, client: Callable[[], bool]) -> object:
        try:
            return self.queue.matches(password.encode(), "", password, client)
        except Exception as problem:
            return type(problem)

    def finish(self, hashes: int) -> None:
        """Let so many hashes go, each begun when the one before has ended."""
        for _ in range(hashes):
            self.hash.may_finish.release()

    def hashed(self, count: int) -> list[str]:
        """Return what was hashed, once so many have begun."""
        with gevent.Timeout(5):
            while len(self.hash.of) < count:
                gevent.sleep(0.001)
        return self.hash.of


@pytest.fixture
def make() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(waiting_max: int = 100) -> Bench:
        made.append(Bench(waiting_max))
        return made[-1]

    yield make
    for bench in made:
        bench.finish(1_000)
        bench.queue.close()


def outcomes(asking: list[gevent.Greenlet]) -> list[object]:
    return [one.get(timeout=5) for one in asking]


def test_they_come_in_the_order_in_which_they_asked(make: Callable[..., Bench]) -> None:
    bench = make()
    asking = [bench.ask(password) for password in ("a", "right", "b", "c")]
    bench.finish(4)
    assert outcomes(asking) == [False, True, False, False]
    assert bench.hash.of == ["a", "right", "b", "c"]


def test_who_hung_up_waits_until_nobody_else_does(make: Callable[..., Bench]) -> None:
    bench = make()
    asking = [bench.ask("begun")]
    asking += [bench.ask(f"hung up {n}", Client(hung_up=True)) for n in range(3)]
    asking += [bench.ask("there 1"), bench.ask("there 2")]
    bench.finish(2)
    assert bench.hashed(3) == ["begun", "there 1", "there 2"]
    bench.finish(4)
    assert outcomes(asking) == [False] * 6  # half-closed clients get their answer all the same
    assert bench.hash.of[3:] == ["hung up 0", "hung up 1", "hung up 2"]


def test_whoever_hangs_up_while_waiting_is_passed_over(make: Callable[..., Bench]) -> None:
    bench = make()
    leaving = Client()
    asking = [bench.ask("begun"), bench.ask("leaving", leaving), bench.ask("there")]
    leaving.hung_up = True
    bench.finish(1)
    assert bench.hashed(2) == ["begun", "there"]
    bench.finish(2)
    assert outcomes(asking) == [False] * 3


def test_1500_strangers_who_hang_up_cost_an_honest_login_nothing(
    make: Callable[..., Bench],
) -> None:
    bench = make(10_000)
    begun = bench.ask("begun")
    strangers = [bench.ask(f"stranger {n}", Client(hung_up=True)) for n in range(1_500)]
    honest = bench.ask("right")
    bench.finish(2)
    assert outcomes([begun, honest]) == [False, True]
    assert bench.hash.of[:2] == ["begun", "right"]
    gevent.killall(strangers)


def test_strangers_are_not_looked_at_again_at_every_login(
    make: Callable[..., Bench],
) -> None:
    bench = make()
    clients = [Client(hung_up=True) for _ in range(50)]
    asking = [bench.ask("begun"), *(bench.ask(f"x{n}", c) for n, c in enumerate(clients))]
    honest = [bench.ask(f"honest {n}") for n in range(10)]
    bench.finish(11)
    assert outcomes([asking[0], *honest]) == [False] * 11
    assert sum(client.looks for client in clients) <= len(clients) + 1
    gevent.killall(asking)


def test_whose_connection_is_reset_leaves_the_queue_unhashed(make: Callable[..., Bench]) -> None:
    bench = make()
    reset, half_closed = Client(), Client(hung_up=True)
    asking = [bench.ask("begun"), bench.ask("reset", reset), bench.ask("half", half_closed)]
    reset.gone = True
    bench.finish(1)
    assert bench.hashed(2) == ["begun", "half"]
    bench.finish(1)
    assert outcomes(asking) == [False, ConnectionResetError, False]


def test_who_was_set_aside_and_then_is_gone_is_not_hashed_either(
    make: Callable[..., Bench],
) -> None:
    bench = make()
    client = Client(hung_up=True)
    asking = [bench.ask("begun"), bench.ask("stranger", client), bench.ask("there")]
    bench.finish(1)
    assert bench.hashed(2) == ["begun", "there"]
    client.gone = True
    bench.finish(1)
    assert outcomes(asking) == [False, ConnectionResetError, False]
    assert bench.hash.of == ["begun", "there"]


def test_one_whose_greenlet_is_killed_leaves_the_queue(make: Callable[..., Bench]) -> None:
    bench = make(2)
    begun, killed = bench.ask("begun"), bench.ask("killed")
    killed.kill()
    honest = bench.ask("there")  # there is room again
    bench.finish(2)
    assert outcomes([begun, honest]) == [False, False]
    assert bench.hash.of == ["begun", "there"]


def test_a_shared_hash_is_wanted_while_anybody_who_asks_is_there(
    make: Callable[..., Bench],
) -> None:
    bench = make()
    asking = [bench.ask("begun"), bench.ask("right", Client(hung_up=True)), bench.ask("other")]
    asking.append(bench.ask("right", Client()))
    bench.finish(2)
    assert bench.hashed(3) == ["begun", "right", "other"]
    bench.finish(1)
    assert outcomes(asking) == [False, True, False, True]


def test_one_who_asks_what_was_set_aside_brings_it_back(make: Callable[..., Bench]) -> None:
    bench = make()
    asking = [bench.ask("begun"), bench.ask("right", Client(hung_up=True)), bench.ask("one")]
    bench.finish(1)
    assert bench.hashed(2) == ["begun", "one"]  # so the other was set aside
    asking += [bench.ask("x", Client(hung_up=True)), bench.ask("right", Client())]
    bench.finish(1)
    assert bench.hashed(3) == ["begun", "one", "right"]
    bench.finish(2)
    assert outcomes(asking) == [False, True, False, False, True]


def test_a_shared_hash_survives_the_end_of_who_asked_first(make: Callable[..., Bench]) -> None:
    bench = make()
    begun, first, second = bench.ask("begun"), bench.ask("right"), bench.ask("right")
    first.kill()
    bench.finish(2)
    assert outcomes([begun, second]) == [False, True]


def test_more_than_may_wait_are_refused(make: Callable[..., Bench]) -> None:
    bench = make(2)
    asking = [bench.ask("a"), bench.ask("b"), bench.ask("c"), bench.ask("b")]
    bench.finish(2)
    assert outcomes(asking) == [False, False, TooManyLogins, False]


def test_who_hung_up_takes_nobodys_room(make: Callable[..., Bench]) -> None:
    bench = make(10)
    begun = bench.ask("begun")
    strangers = [bench.ask(f"stranger {n}", Client(hung_up=True)) for n in range(9)]
    honest = bench.ask("right")
    bench.finish(2)
    assert outcomes([begun, honest]) == [False, True]
    gevent.killall(strangers)


def test_of_those_who_hung_up_the_oldest_make_room(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_queue, "SWEEP_SECONDS", 0)
    bench = make(3)
    begun = bench.ask("begun")
    strangers = [bench.ask(f"stranger {n}", Client(hung_up=True)) for n in range(8)]
    assert outcomes(strangers[:3]) == [TooManyLogins] * 3
    assert not any(stranger.ready() for stranger in strangers[3:])
    honest = bench.ask("right")
    bench.finish(2)
    assert outcomes([begun, honest]) == [False, True]
    gevent.killall(strangers)


def test_all_are_looked_at_once_a_second_at_most(make: Callable[..., Bench]) -> None:
    bench = make(2)
    client = Client()
    asking = [bench.ask("begun"), bench.ask("there", client)]
    refused = [bench.ask(f"refused {n}") for n in range(100)]
    assert outcomes(refused) == [TooManyLogins] * 100
    assert client.looks == 1
    bench.finish(2)
    assert outcomes(asking) == [False, False]


def test_the_shop_closes_and_all_that_wait_are_told_at_once(make: Callable[..., Bench]) -> None:
    bench = make()
    begun = bench.ask("right")
    waiting = [bench.ask(f"{n}", Client(hung_up=n % 2 == 1)) for n in range(6)]
    bench.queue.refuse_waiting()
    assert outcomes(waiting) == [TooManyLogins] * 6
    assert not begun.ready()
    assert outcomes([bench.ask("late")]) == [TooManyLogins]
    bench.finish(1)
    assert outcomes([begun]) == [True]
    assert bench.hash.of == ["right"]


def test_the_end_does_not_wait_for_a_hash_that_takes_long(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_queue, "CLOSE_SECONDS", 0.01)
    bench = make()
    bench.ask("long")
    bench.hashed(1)
    with gevent.Timeout(5):
        bench.queue.close()


@pytest.mark.parametrize("problem", [MemoryError("Memory allocation error"), MemoryError()])
def test_no_memory_is_too_many_logins_and_a_line_in_the_log(
    make: Callable[..., Bench], problem: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    bench = make()
    bench.hash.fails = problem
    asking = [bench.ask(f"{n}") for n in range(5)]
    bench.finish(5)
    assert outcomes(asking) == [TooManyLogins] * 5
    assert [record.getMessage() for record in caplog.records] == [
        "no memory for a password hash: the login is told BUSY"
    ]
    bench.hash.fails = None
    bench.finish(1)
    assert outcomes([bench.ask("right")]) == [True]


def test_a_thread_that_can_not_be_started_is_too_many_logins(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    bench = make()
    with monkeypatch.context() as patched:
        patched.setattr(bench.queue, "_pool", type("Pool", (), {"apply": no_thread})())
        assert outcomes([bench.ask("a"), bench.ask("b")]) == [TooManyLogins] * 2
    bench.finish(1)
    assert outcomes([bench.ask("right")]) == [True]


def test_another_fault_is_raised_where_it_was_asked(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.hash.fails = ZeroDivisionError()
    asking = [bench.ask("a"), bench.ask("a")]
    bench.finish(1)
    assert outcomes(asking) == [ZeroDivisionError] * 2
