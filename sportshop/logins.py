"""Logins: passwords are checked off the hub, so that a login storm doesn't slow who is in.

A password hash takes some 20 ms of processor time on purpose. It is computed in a few native
threads; what waits for one is bounded (login_queue.py); who logs in again with the password that
was right before is known by a keyed digest, in memory only; and tokens cost no hash at all.
An unknown user costs the same hash as the dearest of those who are known: the time doesn't tell
who exists. The same goes for a user whose hash is not to be computed, see users.py.
"""

import hashlib
import hmac
import logging
import secrets

from sportshop.login_queue import HasHungUp, LoginQueue, TooManyLogins
from sportshop.tokens import Tokens
from sportshop.users import (
    User,
    UserRepository,
    bearable_cost,
    dearest,
    decoy_hash,
    parameters_of,
    password_matches,
)

__all__ = ["Logins", "TooManyLogins"]

VERIFIED_MAX = 200_000  # some 150 bytes each
NOBODY = User(-1, "", "")

log = logging.getLogger(__name__)


def _stays() -> bool:
    return False


class Logins:
    """Checks credentials. `threads` hash at once, at most `waiting_max` wait or are hashed."""

    def __init__(
        self, users: UserRepository, tokens: Tokens, threads: int, waiting_max: int
    ) -> None:
        self._users = users
        self._tokens = tokens
        self._queue = LoginQueue(_check, threads, waiting_max)
        self._digest_key = secrets.token_bytes(32)
        self._verified: dict[str, bytes] = {}
        self._found: frozenset[str] = frozenset()  # parameters of who logged in
        self._parameters = users.parameters()
        self._decoy = decoy_hash(dearest(self._parameters))
        self._told: set[int] = set()

    def by_password(self, name: str, password: str, has_hung_up: HasHungUp = _stays) -> User | None:
        """Return the user if the password is right. Waits for a hash.

        `has_hung_up` tells whether the client has closed its side: then others come first. It is
        called in the hub and may not wait; what it raises is raised here. Raises TooManyLogins.
        """
        user = self._users.find_same(name)
        if user is not None and not self._may_be_hashed(user):
            user = None
        phc = self._decoy_as_of_now() if user is None else user.password_hash
        digest = self._digest(name if user is None else user.name, password, phc)
        if user and hmac.compare_digest(self._verified.get(user.name, b""), digest):
            return user
        matches = self._queue.matches(digest, phc, password, has_hung_up)
        if user is None or not matches:
            return None
        self._remember(user.name, digest)
        return user

    def by_token(self, token: str) -> User | None:
        """Return the user whose valid token it is. Never waits."""
        name = self._tokens.user_name(token)
        found = None if name is None else self._users.find(name)
        user = found or NOBODY  # checked all the same: the time doesn't tell who exists
        return found if self._tokens.is_valid(token, user) else None

    def issue_token(self, user: User) -> str:
        """Return a token for a user who has just logged in."""
        return self._tokens.issue(user)

    def refuse_waiting(self) -> None:
        """Raise TooManyLogins for all that wait: the shop closes, and hashes nothing more."""
        self._queue.refuse_waiting()

    def close(self) -> None:
        """End the threads, or leave them to the end of the process if they hash for long."""
        self._queue.close()

    def _may_be_hashed(self, user: User) -> bool:
        """Tell whether the shop bears to compute the user's hash; note what it costs."""
        if bearable_cost(user.password_hash) is not None:
            parameters = parameters_of(user.password_hash)
            if parameters not in self._parameters and parameters not in self._found:
                self._found |= {parameters}
            return True
        if user.id not in self._told:
            self._told.add(user.id)
            log.warning(
                "a user's password hash is not Argon2id, or costs more than the shop bears:"
                " the user can't log in",
                extra={"facts": {"user": user.name}},
            )
        return False

    def _decoy_as_of_now(self) -> str:
        """Return the decoy; users with dearer hashes may have been added meanwhile."""
        parameters = self._users.parameters() | self._found
        if parameters != self._parameters:
            self._parameters = parameters
            self._decoy = decoy_hash(dearest(parameters))
        return self._decoy

    def _remember(self, name: str, digest: bytes) -> None:
        if len(self._verified) >= VERIFIED_MAX and name not in self._verified:
            self._verified.clear()  # they hash once more
        self._verified[name] = digest

    def _digest(self, name: str, password: str, phc: str) -> bytes:
        parts = (text.encode(errors="surrogatepass") for text in (name, phc, password))
        return hashlib.blake2b(b"\0".join(parts), key=self._digest_key, digest_size=32).digest()


def _check(phc: str, password: str) -> bool:
    """Check a password, in a native thread."""
    return password_matches(phc, password)
