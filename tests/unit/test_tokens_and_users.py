"""Who is who: names, password hashes, tokens."""

import base64
import subprocess
import sys

import pytest
from argon2.low_level import Type, hash_secret
from hypothesis import given
from hypothesis import strategies as st

from sportshop.tokens import Tokens
from sportshop.users import (
    Cost,
    NewUser,
    User,
    bearable_cost,
    check_name,
    check_password_hash,
    check_stored_hash,
    dearest,
    decoy_hash,
    hash_password,
    parameters_of,
    password_matches,
)
from tests.catalogues import CHEAP_HASH

USER = User(1, "user1", CHEAP_HASH)
OLD_TOKEN = "zL_ib8u935B8GxbU2Ld_izEwMDM2MDA6dXNlcjE"


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_token_is_valid_for_its_lifetime() -> None:
    clock = Clock()
    tokens = Tokens(b"k" * 32, 3600, clock)
    token = tokens.issue(USER)
    assert tokens.user_name(token) == "user1"
    clock.now += 3599
    assert tokens.is_valid(token, USER)
    clock.now += 1
    assert not tokens.is_valid(token, USER)


def test_a_token_ends_with_the_password_and_is_nobody_elses() -> None:
    tokens = Tokens(b"k" * 32, 3600, Clock())
    token = tokens.issue(USER)
    assert not tokens.is_valid(token, User(1, "user1", CHEAP_HASH + "x"))
    assert not tokens.is_valid(token, User(1, "user2", CHEAP_HASH))
    assert not Tokens(b"j" * 32, 3600, Clock()).is_valid(token, USER)


def test_a_token_changed_in_any_character_is_refused() -> None:
    tokens = Tokens(b"k" * 32, 3600, Clock())
    token = tokens.issue(USER)
    for i, character in enumerate(token):
        changed = token[:i] + ("A" if character != "A" else "Q") + token[i + 1 :]
        if changed[:-1] != token[:-1]:  # the last character may have bits that mean nothing
            assert not tokens.is_valid(changed, USER)


@pytest.mark.parametrize("junk", ["", "x", "é", "AAAA", "A" * 100, "====", "\0", "a b"])
def test_junk_is_no_token(junk: str) -> None:
    tokens = Tokens(b"k" * 32, 3600, Clock())
    assert not tokens.is_valid(junk, USER)


def test_the_parameters_in_the_hash_are_honoured() -> None:
    assert password_matches(CHEAP_HASH, "secret")
    assert not password_matches(CHEAP_HASH, "Secret")
    assert "$m=19456,t=2,p=1$" in hash_password("x")
    assert password_matches(hash_password("señha"), "señha")


def test_a_decoy_costs_what_it_is_to_cost_and_matches_nothing() -> None:
    decoy = decoy_hash(Cost(8, 1, 1))
    assert decoy.rsplit("$", 2)[0] == CHEAP_HASH.rsplit("$", 2)[0]
    assert len(decoy) == len(CHEAP_HASH)
    assert not password_matches(decoy, "secret")


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ([], Cost(19456, 2, 1)),
        (["m=8,t=1,p=1"], Cost(8, 1, 1)),
        (["m=8,t=1,p=1", "m=64,t=3,p=4", "m=128,t=1,p=1"], Cost(64, 3, 4)),
        (["m=64,t=1,p=4", "m=64,t=1,p=1"], Cost(64, 1, 1)),
        (["m=8,t=1,p=1", "m=4294967295,t=1,p=1", "m=8,t=4294967295,p=1"], Cost(8, 1, 1)),
        (["", "m=,t=1,p=1", "nonsense"], Cost(19456, 2, 1)),
    ],
)
def test_the_dearest_parameters_that_can_be_borne_are_found(
    parameters: list[str], expected: Cost
) -> None:
    assert dearest(parameters) == expected


@pytest.mark.parametrize(
    "phc",
    [
        "",
        "senha",
        "$argon2i$v=19$m=8,t=1,p=1$YWFhYWFhYWE$YWFhYWFhYWE",
        "$argon2id$v=19$m=8",
        CHEAP_HASH[:-60],
        CHEAP_HASH.rsplit("$", 1)[0] + "$",
        "$2b$12$abcdefghijklmnopqrstuv",
        "$argon2id$v=19$m=8,t=1,p=1$YWFh!WFhYWE$YWFhYWFhYWE",
        "$argon2id$v=19$m=8,t=1,p=1$YWFh$YWFhYWFhYWE",
    ],
)
def test_what_is_no_argon2id_hash_is_refused(phc: str) -> None:
    with pytest.raises(ValueError, match="expected an Argon2id hash"):
        check_password_hash(phc)
    assert check_password_hash(CHEAP_HASH) == CHEAP_HASH


SALT, DIGEST = CHEAP_HASH.split("$")[4:]
FORMS_OF_NO_HASH = {
    "other order": f"$argon2id$v=19$t=2,m=64,p=1${SALT}${DIGEST}",
    "parameter left out": f"$argon2id$v=19$m=8,t=1${SALT}${DIGEST}",
    "one parameter more": f"$argon2id$v=19$m=8,t=1,p=1,keyid=aa${SALT}${DIGEST}",
    "parameter twice": f"$argon2id$v=19$m=8,m=8,t=1,p=1${SALT}${DIGEST}",
    "padding": f"$argon2id$v=19$m=8,t=1,p=1${SALT}==${DIGEST}",
    "padded digest": f"{CHEAP_HASH}=",
    "older version": f"$argon2id$v=16$m=8,t=1,p=1${SALT}${DIGEST}",
    "no version": f"$argon2id$m=8,t=1,p=1${SALT}${DIGEST}",
    "upper case": CHEAP_HASH.replace("argon2id", "ARGON2ID"),
    "upper-case names": CHEAP_HASH.replace("m=8,t=1,p=1", "M=8,T=1,P=1"),
    "blank before": f" {CHEAP_HASH}",
    "blank behind": f"{CHEAP_HASH} ",
    "line feed": f"{CHEAP_HASH}\n",
    "blank inside": CHEAP_HASH.replace(",t", ", t"),
    "leading zero": CHEAP_HASH.replace("m=8", "m=08"),
    "plus sign": CHEAP_HASH.replace("m=8", "m=+8"),
    "underscore": CHEAP_HASH.replace("m=8", "m=1_6"),
    "digits of another script": CHEAP_HASH.replace("m=8", "m=\u0668"),
    "more digits than Python reads": CHEAP_HASH.replace("m=8", "m=" + "8" * 5_000),
    "empty salt": f"$argon2id$v=19$m=8,t=1,p=1$${DIGEST}",
    "short salt": f"$argon2id$v=19$m=8,t=1,p=1$YWFhYWFhYQ${DIGEST}",
    "huge salt": f"$argon2id$v=19$m=8,t=1,p=1${'YWFh' * 1_000}${DIGEST}",
    "huge digest": f"$argon2id$v=19$m=8,t=1,p=1${SALT}${'YWFh' * 1_000}",
    "bits that mean nothing": f"$argon2id$v=19$m=8,t=1,p=1$YWFhYWFhYWF${DIGEST}",
    "a length that base64 has not": f"$argon2id$v=19$m=8,t=1,p=1$YWFhYWFhYWFhY${DIGEST}",
    "base64 for URLs": f"$argon2id$v=19$m=8,t=1,p=1$YWFh-WFhYWE${DIGEST}",
    "something behind": f"{CHEAP_HASH}$x",
}


@pytest.mark.parametrize("form", FORMS_OF_NO_HASH)
def test_a_hash_is_written_in_one_way_only(form: str) -> None:
    with pytest.raises(ValueError, match="expected an Argon2id hash") as caught:
        check_password_hash(FORMS_OF_NO_HASH[form])
    assert SALT not in str(caught.value)


@pytest.mark.parametrize(
    "parameters",
    [
        "m=4294967295,t=1,p=1",
        "m=8,t=4294967295,p=1",
        "m=9999999999,t=9999999999,p=1",
        "m=134217720,t=1,p=16777215",
        "m=262145,t=1,p=1",
        "m=262144,t=5,p=1",
        "m=8,t=101,p=1",
        "m=136,t=1,p=17",
        "m=2097152,t=1,p=4",
        "m=7,t=1,p=1",
        "m=31,t=1,p=4",
    ],
)
def test_a_hash_that_costs_too_much_or_can_not_be_computed_is_refused(parameters: str) -> None:
    phc = CHEAP_HASH.replace("m=8,t=1,p=1", parameters)
    with pytest.raises(ValueError, match="expected an Argon2id hash with p from 1 to 16"):
        check_password_hash(phc)
    assert bearable_cost(phc) is None


@pytest.mark.parametrize(
    "parameters",
    [
        "m=19456,t=2,p=1",  # OWASP's five
        "m=47104,t=1,p=1",
        "m=12288,t=3,p=1",
        "m=9216,t=4,p=1",
        "m=7168,t=5,p=1",
        "m=65536,t=3,p=4",  # RFC 9106 where memory is short, and argon2-cffi
        "m=102400,t=2,p=8",  # Django
        "m=65536,t=4,p=1",  # PHP
        "m=262144,t=3,p=1",  # libsodium's MODERATE
        "m=262144,t=4,p=16",
        "m=8,t=100,p=1",
    ],
)
def test_what_libraries_make_is_let_through(parameters: str) -> None:
    phc = CHEAP_HASH.replace("m=8,t=1,p=1", parameters)
    assert check_password_hash(phc) == phc
    cost = bearable_cost(phc)
    assert cost is not None
    assert parameters == f"m={cost.memory_kib},t={cost.passes},p={cost.lanes}"
    assert parameters_of(phc) == parameters


@given(
    salt=st.binary(min_size=8, max_size=64),
    digest_bytes=st.integers(4, 64),
    memory=st.integers(8, 64),
    passes=st.integers(1, 3),
)
def test_what_is_let_through_can_be_verified(
    salt: bytes, digest_bytes: int, memory: int, passes: int
) -> None:
    phc = hash_secret(b"secret", salt, passes, memory, 1, digest_bytes, Type.ID).decode()
    assert check_password_hash(phc) == phc
    assert password_matches(phc, "secret")
    assert not password_matches(phc, "wrong")


def test_a_hash_of_an_older_store_is_checked_as_before() -> None:
    old = hash_secret(b"secret", b"saltsalt", 1, 8, 1, 16, Type.ID, version=16).decode()
    with pytest.raises(ValueError, match="expected"):
        check_password_hash(old)
    assert check_stored_hash(old) == old
    assert bearable_cost(old) == Cost(8, 1, 1)
    assert password_matches(old, "secret")
    with pytest.raises(ValueError, match="expected"):
        check_stored_hash("senha")


def test_memory_that_is_not_there_is_no_wrong_password() -> None:
    code = f"""
import resource
from sportshop.users import password_matches
phc = {CHEAP_HASH!r}.replace("m=8,", "m=262144,")
resource.setrlimit(resource.RLIMIT_AS, (200 << 20, 200 << 20))
try:
    print(password_matches(phc, "secret"))
except MemoryError as problem:
    print("no memory:", problem)
"""
    tried = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert tried.stdout == "no memory: Memory allocation error\n"


def test_a_password_of_any_characters_is_only_wrong() -> None:
    for password in ("", "\0", "\ud800", "x" * 100_000, "\U0010ffff"):
        assert not password_matches(CHEAP_HASH, password)


@pytest.mark.parametrize(
    "name",
    ["", "x" * 65, "a\tb", "a\x00", "ana\udcff", " ana", "ana\u00a0", "\u200bana", "a\u2028b"],
)
def test_a_name_has_its_bounds(name: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        check_name(name)
    assert NewUser(check_name("josé"), CHEAP_HASH).name == "josé"


@pytest.mark.parametrize("ahead_s", [86_400 * 10, 3_600, 61])
def test_a_token_from_the_future_is_refused(ahead_s: int) -> None:
    clock = Clock()
    tokens = Tokens(b"k" * 32, 3600, clock)
    clock.now += ahead_s
    token = tokens.issue(USER)
    assert tokens.is_valid(token, USER)
    clock.now -= ahead_s
    assert not tokens.is_valid(token, USER)
    clock.now += ahead_s
    assert tokens.is_valid(token, USER)


def test_a_clock_that_was_a_little_ahead_costs_nobody_a_login() -> None:
    clock = Clock()
    tokens = Tokens(b"k" * 32, 3600, clock)
    token = tokens.issue(USER)
    clock.now -= 59
    assert tokens.is_valid(token, USER)


def test_a_token_of_an_earlier_release_stays_valid() -> None:
    tokens = Tokens(b"k" * 32, 3600, Clock())
    user = User(1, "user1", "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAAAAAA")
    assert tokens.is_valid(OLD_TOKEN, user)


@pytest.mark.parametrize("number", ["", "+1003600", " 1003600", "1_003_600", "9" * 5_000, "1e6"])
def test_a_number_in_a_token_is_written_in_one_way_only(number: str) -> None:
    raw = bytes(16) + f"{number}:user1".encode()
    token = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    tokens = Tokens(b"k" * 32, 3600, Clock())
    assert tokens.user_name(token) is None
    assert not tokens.is_valid(token, USER)
