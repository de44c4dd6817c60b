"""Logins: one hash for whoever may not come in, none for who was here before, none on the hub."""

import threading
from collections.abc import Callable, Iterable, Iterator

import gevent
import pytest

from sportshop import logins as logins_module
from sportshop.logins import Logins, TooManyLogins
from sportshop.storage.memory import MemoryUsers
from sportshop.tokens import Tokens
from sportshop.users import NewUser, User, password_matches
from tests.catalogues import CHEAP_HASH


class Hashes:
    """Counts the hashes, and holds them back while a test wants that."""

    def __init__(self) -> None:
        self.of: list[str] = []
        self.passwords: list[str] = []
        self.threads: set[int] = set()
        self.may_finish = threading.Event()
        self.may_finish.set()

    def __call__(self, phc: str, password: str) -> bool:
        self.of.append(phc)
        self.passwords.append(password)
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


NFC, NFD = "josé", "jose\u0301"
DEAR = CHEAP_HASH.replace("m=8,t=1,p=1", "m=64,t=3,p=1")
UNBEARABLE = [
    CHEAP_HASH.replace("m=8,", "m=4294967295,"),
    CHEAP_HASH.replace("t=1,", "t=4294967295,"),
    CHEAP_HASH.replace("p=1$", "p=16777215$"),
    CHEAP_HASH.replace("m=8,t=1,p=1", "t=2,m=64,p=1"),
    CHEAP_HASH.replace("argon2id", "argon2i"),
    "senha",
    "",
]


def opened(
    users: Iterable[NewUser], now: Callable[[], float] = lambda: 0.0
) -> tuple[Logins, MemoryUsers]:
    repository = MemoryUsers()
    repository.add(users)
    tokens = Tokens(b"k" * 32, 3600, now)
    return Logins(repository, tokens, threads=1, waiting_max=2), repository


@pytest.mark.parametrize("order", [1, -1])
def test_an_unknown_user_costs_what_the_dearest_of_the_store_costs(
    order: int, hashes: Hashes
) -> None:
    users = [NewUser("cheap", CHEAP_HASH), NewUser("dear", DEAR), NewUser("huge", UNBEARABLE[0])]
    logins, _ = opened(users[::order])
    logins.by_password("nobody", "secret")
    logins.by_password("dear", "wrong")
    assert [parameters(phc) for phc in hashes.of] == ["$argon2id$v=19$m=64,t=3,p=1"] * 2


def test_a_store_without_users_takes_the_shops_own_parameters(hashes: Hashes) -> None:
    opened([])[0].by_password("nobody", "secret")
    assert parameters(hashes.of[0]) == "$argon2id$v=19$m=19456,t=2,p=1"


def test_the_decoy_keeps_up_with_users_who_are_added_later(hashes: Hashes) -> None:
    logins, users = opened([NewUser("cheap", CHEAP_HASH)])
    logins.by_password("nobody", "1")
    users.add([NewUser("dear", DEAR)])
    logins.by_password("nobody", "2")
    assert [parameters(phc) for phc in hashes.of] == [parameters(CHEAP_HASH), parameters(DEAR)]


def test_the_decoy_keeps_up_with_a_hash_that_was_changed_in_the_store(hashes: Hashes) -> None:
    logins, users = opened([NewUser("ana", CHEAP_HASH)])
    users._by_name["ana"] = User(0, "ana", DEAR)
    logins.by_password("ana", "wrong")
    logins.by_password("nobody", "wrong")
    assert [parameters(phc) for phc in hashes.of] == [parameters(DEAR)] * 2


@pytest.mark.parametrize("phc", UNBEARABLE)
def test_a_hash_beyond_the_bounds_is_never_computed_and_costs_what_a_decoy_costs(
    phc: str, hashes: Hashes, caplog: pytest.LogCaptureFixture
) -> None:
    logins, _ = opened([NewUser("old", phc), NewUser("ana", DEAR)])
    for _ in range(3):
        assert logins.by_password("old", "secret") is None
    assert logins.by_password("nobody", "secret") is None
    assert [parameters(one) for one in hashes.of] == [parameters(DEAR)] * 4
    (line,) = caplog.records
    assert "the user can't log in" in line.getMessage()
    assert line.__dict__["facts"] == {"user": "old"}
    assert logins.by_password("ana", "wrong") is None


@pytest.mark.parametrize(("own", "other"), [(NFC, NFD), (NFD, NFC)])
def test_a_user_logs_in_by_any_form_of_the_name(own: str, other: str, hashes: Hashes) -> None:
    logins, _ = opened([NewUser(own, CHEAP_HASH)])
    for asked in (other, own):
        user = logins.by_password(asked, "secret")
        assert user is not None
        assert user.name == own
    assert len(hashes.of) == 1
    assert logins.by_password(other, "wrong") is None


@pytest.mark.parametrize(
    "text", ["", "\0", "a\0b", "\ud800", "x" * 1_000_000, "e" + "\u0301" * 100_000]
)
def test_any_text_as_name_or_password_is_wrong_at_the_usual_cost(
    text: str, logins: Logins, hashes: Hashes
) -> None:
    assert logins.by_password(text, "secret") is None
    assert logins.by_password("user1", text) is None
    assert logins.by_password(text, text) is None
    assert [parameters(phc) for phc in hashes.of] == [parameters(CHEAP_HASH)] * 3


def test_a_token_of_nobody_costs_what_a_forged_one_costs(
    logins: Logins, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []

    def is_valid(_: str, user: User) -> bool:
        checked.append(user.name)
        return False

    monkeypatch.setattr(logins._tokens, "is_valid", is_valid)
    for name in ("user1", "nobody"):
        assert logins.by_token(logins.issue_token(User(1, name, DEAR))) is None
    assert checked == ["user1", ""]


def test_a_token_of_nobody_is_never_valid(logins: Logins) -> None:
    assert logins.by_token(logins.issue_token(logins_module.NOBODY)) is None


def test_who_hung_up_lets_others_go_first(logins: Logins, hashes: Hashes) -> None:
    hashes.may_finish.clear()
    asking = [gevent.spawn(logins.by_password, "user1", "begun")]
    asking += [gevent.spawn(logins.by_password, "nobody", "hung up", lambda: True)]
    gevent.sleep(0.01)
    asking += [gevent.spawn(logins.by_password, "user2", "secret", lambda: False)]
    gevent.sleep(0.01)
    hashes.may_finish.set()
    found = [greenlet.get(timeout=5) for greenlet in asking]
    assert [user and user.name for user in found] == [None, None, "user2"]
    assert hashes.passwords == ["begun", "secret", "hung up"]


def test_memory_that_can_not_be_had_is_busy_and_not_a_wrong_password(
    logins: Logins, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: str) -> bool:
        raise MemoryError

    monkeypatch.setattr(logins_module, "password_matches", no_memory)
    for name in ("user1", "nobody"):
        with pytest.raises(TooManyLogins):
            logins.by_password(name, "secret")


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
