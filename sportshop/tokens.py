"""Tokens: a proof of an earlier login, so that a reconnect costs no password hash.

A token names the user and its expiry and is signed with the store's key and the user's password
hash: it holds after a restart and on every server of the same store, and ends with the password.
Knows no socket and no store; the clock is given.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable

from sportshop.users import User

KEY_BYTES = 32
_MAC_BYTES = 16  # 128 bits: as many as can't be guessed
_SECONDS = re.compile(r"-?[0-9]{1,12}")
CLOCK_SKEW_SECONDS = 60  # between the servers of a store, or when a clock is set right


class Tokens:
    """Issues and checks tokens. `now` returns seconds since 1970."""

    def __init__(self, key: bytes, lifetime_s: int, now: Callable[[], float]) -> None:
        self._key = key
        self._lifetime_s = lifetime_s
        self._now = now

    def issue(self, user: User) -> str:
        """Return a token for the user, valid from now on for the lifetime."""
        claim = b"%d:%s" % (int(self._now()) + self._lifetime_s, user.name.encode())
        return base64.urlsafe_b64encode(self._mac(claim, user) + claim).decode().rstrip("=")

    def user_name(self, token: str) -> str | None:
        """Return whom the token claims to be of, or None: `is_valid` has to confirm it."""
        claim = _parse(token)
        return claim[2] if claim else None

    def is_valid(self, token: str, user: User) -> bool:
        """Tell whether it is this user's token, issued by this shop, and has not expired.

        One that lives longer than any token is from the future: the clock was ahead when it was
        issued. It is refused too, or it would live for as long as the clock was wrong.
        """
        parsed = _parse(token)
        if parsed is None:
            return False
        mac, expires_at, name = parsed
        claim = b"%d:%s" % (expires_at, name.encode())
        genuine = hmac.compare_digest(mac, self._mac(claim, user)) and name == user.name
        return genuine and 0 < expires_at - self._now() <= self._lifetime_s + CLOCK_SKEW_SECONDS

    def _mac(self, claim: bytes, user: User) -> bytes:
        signed = b"sportshop token\0" + user.password_hash.encode() + b"\0" + claim
        return hmac.digest(self._key, signed, hashlib.sha256)[:_MAC_BYTES]


def _parse(token: str) -> tuple[bytes, int, str] | None:
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        expires_at, colon, name = raw[_MAC_BYTES:].decode().partition(":")
        if not (colon and _SECONDS.fullmatch(expires_at)):
            return None
        return raw[:_MAC_BYTES], int(expires_at), name
    except (binascii.Error, ValueError):
        return None
