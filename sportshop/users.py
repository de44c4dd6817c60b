"""Users: who may buy, how a password is checked, and the repository they are read from.

Passwords are stored as Argon2id PHC strings and the parameters in the string are honoured, as far
as the bounds below go: a hash decides what a login costs the shop, so a hash is not trusted.
Knows no socket and no file. Checking a password takes milliseconds of processor time on
purpose: logins.py keeps that off the hub.
"""

import base64
import binascii
import re
import secrets
from collections.abc import Iterable
from typing import Protocol

import argon2
import msgspec
from argon2.low_level import Type, error_to_str, verify_secret

from sportshop import names as naming

NAME_CHARACTERS_MAX = 64
# OWASP's minimum for Argon2id (Password Storage Cheat Sheet): 19 MiB, two passes, one lane.
MEMORY_KIB = 19 * 1024
PASSES = 2
LANES = 1

# What a hash may cost: half a second to two on the machines of 2026. It lets in what OWASP and
# RFC 9106 recommend where memory is short (64 MiB, three passes, four lanes) and what libraries
# make unless told otherwise, up to libsodium's MODERATE (256 MiB, three passes). It keeps out
# RFC 9106's first choice (2 GiB): two logins at once would take 4 GiB and many seconds.
MEMORY_KIB_MAX = 256 * 1024
FILLED_KIB_MAX = 4 * MEMORY_KIB_MAX  # memory times passes, which is what the time goes into
PASSES_MAX = 100  # each starts four threads a lane, however little memory it fills
LANES_MAX = 16  # threads of one hash

# Source: https://github.com/P-H-C/phc-string-format, RFC 9106 section 3.1, and the decoder of the
# Argon2 reference implementation: parameters in this order, numbers without leading zeros.
_PHC = re.compile(
    r"\$argon2id\$v=19\$m=([1-9][0-9]{0,9}),t=([1-9][0-9]{0,9}),p=([1-9][0-9]{0,7})"
    r"\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{6,86})"
)
SALT_BYTES_MIN = 8  # RFC 9106
DIGEST_BYTES_MIN = 4  # RFC 9106
FIELD_BYTES_MAX = 64  # what 86 characters hold; the PHC format asks for 48 and 64 at most
_PARAMETERS = re.compile(
    r"\$argon2id\$(?:v=[0-9]+\$)?m=([0-9]{1,10}),t=([0-9]{1,10}),p=([0-9]{1,8})\$"
)
EXPECTED_HASH = "expected an Argon2id hash such as $argon2id$v=19$m=19456,t=2,p=1$…"

# argon2.h: ARGON2_MEMORY_ALLOCATION_ERROR and ARGON2_THREAD_FAIL. Its binding has only the texts.
_NO_ROOM = frozenset({error_to_str(-22), error_to_str(-33)})


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
    """The store has a user of that name already, in this form or another; nothing was added."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is a user {name!r} already")
        self.name = name


class UserRepository(Protocol):
    """Where the users are kept."""

    def find(self, name: str) -> User | None:
        """Return the user whose name is written just so."""

    def find_same(self, name: str) -> User | None:
        """Return the user of that name, in this form or else in another: see names.py."""

    def parameters(self) -> frozenset[str]:
        """Return each text of Argon2 parameters that a hash has: `m=19456,t=2,p=1`.

        Cheap enough to be asked at every failed login, and up to date then.
        """

    def add(self, users: Iterable[NewUser]) -> int:
        """Add all of them durably, or none; return how many. Raises UserExists."""


class Cost(msgspec.Struct, frozen=True):
    """What a password hash costs: the parameters of Argon2."""

    memory_kib: int
    passes: int
    lanes: int

    @property
    def work(self) -> tuple[int, int]:
        """Order costs: by what is filled in all, then by how few threads share that."""
        return self.memory_kib * self.passes, -self.lanes

    def is_bearable(self) -> bool:
        """Tell whether Argon2 takes the parameters, and the shop bears to compute them."""
        return (
            1 <= self.lanes <= LANES_MAX
            and 1 <= self.passes <= PASSES_MAX
            and 8 * self.lanes <= self.memory_kib <= MEMORY_KIB_MAX
            and self.memory_kib * self.passes <= FILLED_KIB_MAX
        )


DEFAULT_COST = Cost(MEMORY_KIB, PASSES, LANES)


def check_name(name: str) -> str:
    """Return a new user's name, or raise names.BadName."""
    return naming.check_name(name, NAME_CHARACTERS_MAX)


def check_stored_name(name: str) -> str:
    """Return the name of a user that a store has already, or raise names.BadName."""
    return naming.check_stored_name(name, NAME_CHARACTERS_MAX)


def check_password_hash(phc: str) -> str:
    """Return a new user's PHC string, or raise ValueError that says what was expected.

    What is let through can be verified, and costs no more than the bounds above.
    """
    match = _PHC.fullmatch(phc)
    if match is None:
        raise ValueError(EXPECTED_HASH)
    salt, digest = _bytes_in(match[4]), _bytes_in(match[5])
    if len(salt) < SALT_BYTES_MIN or len(digest) < DIGEST_BYTES_MIN:
        raise ValueError(EXPECTED_HASH)
    if not Cost(int(match[1]), int(match[2]), int(match[3])).is_bearable():
        raise ValueError(
            f"expected an Argon2id hash with p from 1 to {LANES_MAX}, t from 1 to {PASSES_MAX},"
            f" m from 8 times p to {MEMORY_KIB_MAX}, and m times t at most {FILLED_KIB_MAX}"
        )
    return phc


def check_stored_hash(phc: str) -> str:
    """Return the hash of a user that a store has already, or raise ValueError if it is none.

    It may be one that nobody can log in with: that is found out at the login.
    """
    if not phc.startswith("$argon2id$"):
        raise ValueError(EXPECTED_HASH)
    return phc


def bearable_cost(phc: str) -> Cost | None:
    """Return what a hash costs; None if the shop can't verify it, or bear what it costs.

    Looser than `check_password_hash`: older stores hold hashes that were let in before it.
    """
    match = _PARAMETERS.match(phc)
    if match is None:
        return None
    cost = Cost(int(match[1]), int(match[2]), int(match[3]))
    return cost if cost.is_bearable() else None


def parameters_of(phc: str) -> str:
    """Return the part of a PHC string that says what it costs, or nothing if it has none."""
    return phc[15:].partition("$")[0] if phc.startswith("$argon2id$v=1") else ""


def dearest(parameters: Iterable[str]) -> Cost:
    """Return the dearest of the parameters that the shop bears; its own if there are none."""
    costs = (bearable_cost(f"$argon2id${text}$") for text in parameters)
    bearable = (cost for cost in costs if cost is not None)
    return max(bearable, key=lambda cost: cost.work, default=DEFAULT_COST)


def _bytes_in(field: str) -> bytes:
    """Return what base64 without padding holds; raises ValueError if it has another spelling."""
    try:
        decoded = base64.b64decode(field + "=" * (-len(field) % 4), validate=True)
    except binascii.Error:
        raise ValueError(EXPECTED_HASH) from None
    if _unpadded_base64(decoded) != field:  # bits at the end that mean nothing, and are not 0
        raise ValueError(EXPECTED_HASH)
    return decoded


def _unpadded_base64(content: bytes) -> str:
    return base64.b64encode(content).decode().rstrip("=")


def hash_password(password: str) -> str:
    """Return an Argon2id PHC string with a fresh salt and OWASP's minimum parameters."""
    hasher = argon2.PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)
    return hasher.hash(password)


def password_matches(phc: str, password: str) -> bool:
    """Check a password: milliseconds of processor time, without the GIL.

    Raises MemoryError where there is no room for it: nobody knows then whether it was right.
    """
    try:
        return verify_secret(phc.encode(), password.encode(errors="surrogatepass"), Type.ID)
    except argon2.exceptions.VerifyMismatchError:
        return False
    except argon2.exceptions.VerificationError as problem:
        if str(problem) in _NO_ROOM:
            raise MemoryError(str(problem)) from None
        return False


def decoy_hash(cost: Cost) -> str:
    """Return a hash of that cost that no password matches. Takes no time to make.

    An unknown user is checked against it, so that the time does not tell who exists.
    """
    salt, digest = (_unpadded_base64(secrets.token_bytes(size)) for size in (16, 32))
    return f"$argon2id$v=19$m={cost.memory_kib},t={cost.passes},p={cost.lanes}${salt}${digest}"
