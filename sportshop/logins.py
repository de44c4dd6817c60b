"""Logins: passwords are checked off the hub, so that a login storm doesn't slow who is in.

A password hash takes some 20 ms of processor time on purpose. It is computed in a few native
threads; what waits for one is bounded; who logs in again with the password that was right before
is known by a keyed digest, in memory only; and tokens cost no hash at all.
An unknown user costs the same hash as a wrong password.
"""

import hashlib
import hmac
import secrets

from gevent.event import AsyncResult
from gevent.threadpool import ThreadPool

from sportshop.tokens import Tokens
from sportshop.users import User, UserRepository, decoy_hash, password_matches

VERIFIED_MAX = 200_000  # some 150 bytes each


class TooManyLogins(Exception):
    """More logins wait for a hash than the shop accepts."""


class Logins:
    """Checks credentials. `threads` hash at once, at most `waiting_max` wait."""

    def __init__(
        self, users: UserRepository, tokens: Tokens, threads: int, waiting_max: int
    ) -> None:
        self._users = users
        self._tokens = tokens
        self._pool = ThreadPool(threads)
        self._waiting_max = waiting_max
        self._waiting = 0
        self._digest_key = secrets.token_bytes(32)
        self._verified: dict[str, bytes] = {}
        self._running: dict[bytes, AsyncResult[bool | None]] = {}
        self._decoy = decoy_hash(users.any())

    def by_password(self, name: str, password: str) -> User | None:
        """Return the user if the password is right. Waits for a hash; raises TooManyLogins."""
        user = self._users.find(name)
        phc = user.password_hash if user else self._decoy
        digest = self._digest(name, password, phc)
        if hmac.compare_digest(self._verified.get(name, b""), digest):
            return user
        matches = self._matches(digest, phc, password)
        if user is None or not matches:
            return None
        self._remember(name, digest)
        return user

    def by_token(self, token: str) -> User | None:
        """Return the user whose valid token it is. Never waits."""
        name = self._tokens.user_name(token)
        user = None if name is None else self._users.find(name)
        return user if user and self._tokens.is_valid(token, user) else None

    def issue_token(self, user: User) -> str:
        """Return a token for a user who has just logged in."""
        return self._tokens.issue(user)

    def refuse_waiting(self) -> None:
        """Raise TooManyLogins for all that wait: the shop closes, and hashes nothing more."""
        self._waiting_max = 0

    def close(self) -> None:
        """End the threads."""
        self._pool.kill()

    def _matches(self, digest: bytes, phc: str, password: str) -> bool:
        """Hash once for all who ask the same at the same time."""
        running = self._running.get(digest)
        if running is not None:
            return self._wait_for(running)
        if self._waiting >= self._waiting_max:
            raise TooManyLogins
        result = self._running[digest] = AsyncResult()
        self._waiting += 1
        try:
            result.set(self._pool.apply(self._hash, (phc, password)))
        except BaseException as problem:
            result.set_exception(problem)
            raise
        finally:
            self._waiting -= 1
            del self._running[digest]
        return self._wait_for(result)

    def _hash(self, phc: str, password: str) -> bool | None:
        """Check a password; None if that is no longer wanted. In a native thread."""
        return password_matches(phc, password) if self._waiting_max else None

    def _wait_for(self, result: "AsyncResult[bool | None]") -> bool:
        matches = result.get()
        if matches is None:
            raise TooManyLogins
        return matches

    def _remember(self, name: str, digest: bytes) -> None:
        if len(self._verified) >= VERIFIED_MAX and name not in self._verified:
            self._verified.clear()  # they hash once more
        self._verified[name] = digest

    def _digest(self, name: str, password: str, phc: str) -> bytes:
        parts = b"\0".join((name.encode(), phc.encode(), password.encode()))
        return hashlib.blake2b(parts, key=self._digest_key, digest_size=32).digest()
