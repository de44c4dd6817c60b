"""The server's own guards: its reaper goes on, and it takes the descriptors that it is given."""

import resource
import time
from collections.abc import Callable, Iterator

import gevent
import pytest
from gevent.socket import create_connection

from sportshop import server
from sportshop.server import CannotListen, Server, _raise_descriptor_limit
from sportshop.settings import Limits
from sportshop.storage.interface import StorageFailed
from sportshop.storage.memory import MemoryStore
from tests.catalogues import SMALL


class TroubledStore(MemoryStore):
    """A store that a test lets go wrong when it is looked after."""

    def __init__(self, trouble: Exception) -> None:
        super().__init__(SMALL)
        self.trouble = trouble
        self.looks = 0

    def check_is_there(self) -> None:
        self.looks += 1
        raise self.trouble


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[TroubledStore], Server]]:
    """Start servers in this process, without their signal handlers."""
    monkeypatch.setattr(server, "SIGNALS", ())
    monkeypatch.setattr(server, "_tame_garbage_collection", lambda: None)
    started: list[tuple[Server, gevent.Greenlet[[], None]]] = []

    def start(store: TroubledStore) -> Server:
        made = Server(store, "127.0.0.1", 0, Limits(login_seconds=0.1))
        made.start()
        started.append((made, gevent.spawn(made.run)))
        return made

    yield start
    for made, running in started:
        made.stop()
        running.join(10)


def test_a_fault_of_ours_while_connections_are_looked_after_ends_only_that_look(
    serve: Callable[[TroubledStore], Server], caplog: pytest.LogCaptureFixture
) -> None:
    store = TroubledStore(ZeroDivisionError("a fault of ours"))
    shop = serve(store)
    deadline = time.monotonic() + 10
    while store.looks < 3:
        gevent.sleep(0.01)
        assert time.monotonic() < deadline
    assert "a fault of ours" in caplog.text
    assert shop.failure is None


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_store_that_is_gone_stops_the_shop(
    serve: Callable[[TroubledStore], Server],
) -> None:
    shop = serve(TroubledStore(StorageFailed("shop.db is gone")))
    with create_connection(shop.address, 10) as client:
        said = client.makefile("rb").read()
    assert b"SHUTTING_DOWN" in said
    assert str(shop.failure) == "shop.db is gone"


class Descriptors:
    """The limits of this process, as a test wants them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, soft: int, hard: int) -> None:
        self.soft, self.hard = soft, hard
        self.refuses: Exception | None = None
        monkeypatch.setattr(resource, "getrlimit", lambda _: (self.soft, self.hard))
        monkeypatch.setattr(resource, "setrlimit", self._set)

    def _set(self, _: int, limits: tuple[int, int]) -> None:
        if self.refuses:
            raise self.refuses
        self.soft, self.hard = limits


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "then"),
    [
        (1_024, 1_048_576, 16_000, 16_100),
        (1_024, resource.RLIM_INFINITY, 16_000, 16_100),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 16_000, resource.RLIM_INFINITY),
        (1_024, 4_096, 3_996, 4_096),
        (256, 256, 156, 256),
        (100, 100, 50, 100),
        (33, 33, 1, 33),
    ],
)
def test_there_are_as_many_connections_as_the_descriptors_allow(
    soft: int, hard: int, connections: int, then: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Descriptors(monkeypatch, soft, hard)
    assert _raise_descriptor_limit(16_000)[0] == connections
    assert limits.soft == then


@pytest.mark.parametrize("refusal", [ValueError("not allowed to raise"), OSError(22, "Invalid")])
def test_a_kernel_that_does_not_raise_the_limit_leaves_fewer_connections(
    refusal: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As macOS: its hard limit has no end, and its own is lower."""
    limits = Descriptors(monkeypatch, 256, resource.RLIM_INFINITY)
    limits.refuses = refusal
    assert _raise_descriptor_limit(16_000) == (156, 100)


@pytest.mark.parametrize("descriptors", [8, 20, 32])
def test_too_few_descriptors_for_any_connection_are_named(
    descriptors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    Descriptors(monkeypatch, descriptors, descriptors)
    with pytest.raises(CannotListen, match=rf"{descriptors} file descriptors \(ulimit -n\)"):
        _raise_descriptor_limit(16_000)
