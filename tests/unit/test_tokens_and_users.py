"""Who is who: names, password hashes, tokens."""

import pytest

from sportshop.tokens import Tokens
from sportshop.users import (
    NewUser,
    User,
    check_name,
    check_password_hash,
    decoy_hash,
    hash_password,
    password_matches,
)
from tests.catalogues import CHEAP_HASH

USER = User(1, "user1", CHEAP_HASH)


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


def test_a_decoy_costs_what_the_users_hash_costs_and_matches_nothing() -> None:
    decoy = decoy_hash(USER)
    assert decoy.rsplit("$", 2)[0] == CHEAP_HASH.rsplit("$", 2)[0]
    assert not password_matches(decoy, "secret")
    assert "$m=19456,t=2,p=1$" in decoy_hash(None)


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


@pytest.mark.parametrize("name", ["", "x" * 65, "a\tb", "a\x00"])
def test_a_name_has_its_bounds(name: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        check_name(name)
    assert NewUser(check_name("josé"), CHEAP_HASH).name == "josé"
