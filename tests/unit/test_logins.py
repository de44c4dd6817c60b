"""Logins: one hash for whoever may not come in, none for who was here before, none on the hub."""

import threading
from collections.abc import Iterator

import gevent
import pytest

from sportshop import logins as logins_module
from sportshop.logins import Logins, TooManyLogins
from sportshop.storage.memory import MemoryUsers
from sportshop.tokens import Tokens
from sportshop.users import NewUser, password_matches
from tests.catalogues import CHEAP_HASH


class Hashes:
    """Counts the hashes, and holds them back while a test wants that."""

    def __init__(self) -> None:
        self.of: list[str] = []
        self.threads: set[int] = set()
        self.may_finish = threading.Event()
        self.may_finish.set()

    def __call__(self, phc: str, password: str) -> bool:
        self.of.append(phc)
        self.threads.add(threading.get_ident())
        assert self.may_finish.wait(10)
        return password_matches(phc, password)


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> Hashes:
    hashes = Hashes()
    monkeypatch.setattr(logins_module, "password_matches", hashes)
    return hashes


@pytest.fixture
def logins(hashes: Hashes) -> Iterator[Logins]:
    users = MemoryUsers()
    users.add([NewUser("user1", CHEAP_HASH), NewUser("user2", CHEAP_HASH)])
    logins = Logins(users, Tokens(b"k" * 32, 3600, lambda: 0.0), threads=1, waiting_max=2)
    yield logins
    hashes.may_finish.set()
    logins.close()


def parameters(phc: str) -> str:
    return phc.rsplit("$", 2)[0]


def test_the_right_password_lets_in_and_a_wrong_one_does_not(logins: Logins) -> None:
    user = logins.by_password("user1", "secret")
    assert user is not None
    assert user.name == "user1"
    assert logins.by_password("user1", "wrong") is None
    assert logins.by_password("nobody", "secret") is None


def test_an_unknown_user_costs_the_same_hash_as_a_wrong_password(
    logins: Logins, hashes: Hashes
) -> None:
    logins.by_password("user1", "wrong")
    logins.by_password("nobody", "wrong")
    assert len(hashes.of) == 2
    assert parameters(hashes.of[0]) == parameters(hashes.of[1])


def test_an_unknown_user_stays_as_expensive_every_time(logins: Logins, hashes: Hashes) -> None:
    for _ in range(3):
        logins.by_password("user1", "wrong")
        logins.by_password("nobody", "wrong")
    assert len(hashes.of) == 6


def test_a_password_that_was_right_costs_no_second_hash(logins: Logins, hashes: Hashes) -> None:
    for _ in range(3):
        assert logins.by_password("user1", "secret")
    assert len(hashes.of) == 1
    assert logins.by_password("user1", "wrong") is None
    assert len(hashes.of) == 2


def test_hashing_does_not_stop_the_hub(logins: Logins, hashes: Hashes) -> None:
    hashes.may_finish.clear()
    waiting = gevent.spawn(logins.by_password, "user1", "secret")
    gevent.sleep(0.01)  # others run meanwhile: here, this test
    assert not waiting.ready()
    assert threading.get_ident() not in hashes.threads
    hashes.may_finish.set()
    assert waiting.get(timeout=5) is not None


def test_more_than_may_wait_are_refused(logins: Logins, hashes: Hashes) -> None:
    hashes.may_finish.clear()
    waiting = [gevent.spawn(logins.by_password, "user1", f"wrong{i}") for i in range(2)]
    gevent.sleep(0.01)
    with pytest.raises(TooManyLogins):
        logins.by_password("user1", "wrong3")
    hashes.may_finish.set()
    assert [greenlet.get(timeout=5) for greenlet in waiting] == [None, None]


def test_those_who_ask_the_same_at_the_same_time_share_a_hash(
    logins: Logins, hashes: Hashes
) -> None:
    hashes.may_finish.clear()
    waiting = [gevent.spawn(logins.by_password, "user1", "secret") for _ in range(50)]
    gevent.sleep(0.01)
    hashes.may_finish.set()
    assert all(greenlet.get(timeout=5) for greenlet in waiting)
    assert len(hashes.of) == 1


def test_a_shop_that_closes_hashes_nothing_more(logins: Logins, hashes: Hashes) -> None:
    hashes.may_finish.clear()
    waiting = [gevent.spawn(_result, logins, f"wrong{i}") for i in range(2)]
    gevent.sleep(0.01)
    logins.refuse_waiting()
    hashes.may_finish.set()
    assert [greenlet.get(timeout=5) for greenlet in waiting] == [None, "too many"]


def _result(logins: Logins, password: str) -> object:
    try:
        return logins.by_password("user1", password)
    except TooManyLogins:
        return "too many"


def test_a_token_costs_no_hash(logins: Logins, hashes: Hashes) -> None:
    user = logins.by_password("user2", "secret")
    assert user is not None
    assert logins.by_token(logins.issue_token(user)) == user
    assert logins.by_token("forged") is None
    assert len(hashes.of) == 1
