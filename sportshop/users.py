"""Users: who may buy, how a password is checked, and the repository they are read from.

Passwords are stored as Argon2id PHC strings and the parameters in the string are honoured.
Knows no socket and no file. Checking a password takes milliseconds of processor time on
purpose: logins.py keeps that off the hub.
"""

import base64
import secrets
from collections.abc import Iterable
from typing import Protocol

import argon2
import msgspec
from argon2.low_level import Type, hash_secret, verify_secret

from sportshop.products import has_control_characters

NAME_CHARACTERS_MAX = 64
# OWASP's minimum for Argon2id (Password Storage Cheat Sheet): 19 MiB, two passes, one lane.
MEMORY_KIB = 19 * 1024
PASSES = 2
LANES = 1
SALT_BYTES_MIN = 8  # RFC 9106, section 3.1, and the next
HASH_BYTES_MIN = 4


class User(msgspec.Struct, frozen=True):
    """A user as the store knows it. `id` is the store's own and means nothing elsewhere."""

    id: int
    name: str
    password_hash: str


class NewUser(msgspec.Struct, frozen=True):
    """A user that a store is asked to add."""

    name: str
    password_hash: str


class UserExists(Exception):
    """The store has a user of that name already; nothing was added."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is a user {name!r} already")
        self.name = name


class UserRepository(Protocol):
    """Where the users are kept."""

    def find(self, name: str) -> User | None:
        """Return the user of that name."""

    def any(self) -> User | None:
        """Return some user, or None in a store that has none."""

    def add(self, users: Iterable[NewUser]) -> int:
        """Add all of them durably, or none; return how many. Raises UserExists."""


def check_name(name: str) -> str:
    """Return the name, or raise ValueError that says what was expected."""
    if not 1 <= len(name) <= NAME_CHARACTERS_MAX:
        raise ValueError(f"expected 1 to {NAME_CHARACTERS_MAX} characters")
    if has_control_characters(name):
        raise ValueError("expected no control characters")
    return name


def check_password_hash(phc: str) -> str:
    """Return the PHC string, or raise ValueError that says what was expected.

    Source: https://github.com/P-H-C/phc-string-format and RFC 9106.
    """
    expected = "expected an Argon2id hash such as $argon2id$v=19$m=19456,t=2,p=1$…"
    try:
        parameters = argon2.extract_parameters(phc)
        salt, digest = (_unpadded_base64(field) for field in phc.split("$")[4:])
    except (argon2.exceptions.InvalidHashError, ValueError):
        raise ValueError(expected) from None
    bytes_suffice = len(salt) >= SALT_BYTES_MIN and len(digest) >= HASH_BYTES_MIN
    if parameters.type is not Type.ID or not bytes_suffice or not _in_range(parameters):
        raise ValueError(expected)
    return phc


def _in_range(parameters: argon2.Parameters) -> bool:
    """Hold the parameters to RFC 9106, section 3.1."""
    lanes, passes, memory = parameters.parallelism, parameters.time_cost, parameters.memory_cost
    return 1 <= lanes < 2**24 and 1 <= passes < 2**32 and 8 * lanes <= memory < 2**32


def _unpadded_base64(field: str) -> bytes:
    return base64.b64decode(field + "=" * (-len(field) % 4), validate=True)


def hash_password(password: str) -> str:
    """Return an Argon2id PHC string with a fresh salt and OWASP's minimum parameters."""
    hasher = argon2.PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)
    return hasher.hash(password)


def password_matches(phc: str, password: str) -> bool:
    """Check a password: milliseconds of processor time, without the GIL."""
    try:
        return verify_secret(phc.encode(), password.encode(), Type.ID)
    except argon2.exceptions.VerificationError:
        return False


def decoy_hash(like: User | None) -> str:
    """Return a hash that no password matches and that costs what `like`'s costs.

    An unknown user is checked against it, so that the time does not tell who exists.
    """
    if like is None:
        return hash_password(secrets.token_urlsafe())
    parameters = argon2.extract_parameters(like.password_hash)
    return hash_secret(
        secrets.token_bytes(32),
        secrets.token_bytes(16),
        time_cost=parameters.time_cost,
        memory_cost=parameters.memory_cost,
        parallelism=parameters.parallelism,
        hash_len=parameters.hash_len,
        type=Type.ID,
    ).decode()
