"""Tally: what the shoppers of one Locust process saw, kept for the audit.

Kept apart from Locust's statistics, which forget. A worker sends its tally to the master, so it
is plain data. Knows no socket and no rule.
"""

import time
from collections.abc import Sequence

import msgspec

from sportshop.audit import Asked, Sale
from sportshop.audit.history import KEY_TAG_CHARACTERS
from sportshop.client import new_order_key
from sportshop.orders import quantities


class Count(msgspec.Struct):
    """How often something happened, and between which moments (seconds since 1970)."""

    n: int = 0
    first_s: float = 0.0
    last_s: float = 0.0

    def add(self) -> None:
        """Count one, now."""
        self.last_s = time.time()
        if not self.n:
            self.first_s = self.last_s
        self.n += 1

    @property
    def seconds(self) -> float:
        """From the first to the last."""
        return self.last_s - self.first_s


class Tally(msgspec.Struct):
    """What became of every order of a run."""

    tag: str = ""
    """The run's own: KEY_TAG_CHARACTERS hexadecimal digits."""
    sales: list[Sale] = []
    """Orders that were acknowledged."""
    unsettled: dict[str, Asked] = {}
    """By key: orders that were sent, and whose answer has not come."""
    misserved: list[tuple[Asked, Sale]] = []
    tokens: dict[str, str] = {}
    """By user: the newest token of everybody who logged in."""
    accepted: Count = msgspec.field(default_factory=Count)
    sold_out: Count = msgspec.field(default_factory=Count)
    refused: Count = msgspec.field(default_factory=Count)
    """For other reasons than stock."""

    def new_key(self) -> str:
        """Return a fresh UUIDv7 that ends in the run's tag.

        An order that is found later can so be known for this run's own, also one that the shop
        refused, of which nothing is kept. Enough random bits stay to tell a user's keys apart.
        """
        return new_order_key()[:-KEY_TAG_CHARACTERS] + self.tag

    def logged_in(self, user: str, token: str) -> None:
        """Note that the user is one of this run's."""
        self.tokens[user] = token

    def begin(self, asked: Asked) -> None:
        """Note an order before it is sent: whatever happens now, it may have been placed."""
        self.unsettled[asked.key] = asked

    def sell(self, asked: Asked, sale: Sale) -> None:
        """Note that the order was acknowledged."""
        del self.unsettled[asked.key]
        self.accepted.add()
        self.sales.append(sale)
        if quantities(sale.items) != quantities(asked.items):
            self.misserved.append((asked, sale))

    def turn_away(self, asked: Asked) -> None:
        """Note that the order was refused for want of stock: an answer, not a failure."""
        del self.unsettled[asked.key]
        self.sold_out.add()

    def refuse(self, asked: Asked) -> None:
        """Note that the order was refused for another reason, and is not placed."""
        del self.unsettled[asked.key]
        self.refused.add()


def encode(tally: Tally) -> bytes:
    """Return the tally as bytes, which Locust's messages can carry."""
    return msgspec.msgpack.encode(tally)


def decode(data: bytes) -> Tally:
    """Return the tally in the bytes. Raises msgspec.DecodeError."""
    return msgspec.msgpack.decode(data, type=Tally)


def merge(tag: str, tallies: Sequence[Tally]) -> Tally:
    """Return one tally of them all."""
    whole = Tally(tag)
    for tally in tallies:
        whole.sales += tally.sales
        whole.unsettled |= tally.unsettled
        whole.misserved += tally.misserved
        whole.tokens |= tally.tokens
    whole.accepted = _merge([tally.accepted for tally in tallies])
    whole.sold_out = _merge([tally.sold_out for tally in tallies])
    whole.refused = _merge([tally.refused for tally in tallies])
    return whole


def _merge(counts: Sequence[Count]) -> Count:
    some = [count for count in counts if count.n]
    if not some:
        return Count()
    first, last = min(count.first_s for count in some), max(count.last_s for count in some)
    return Count(sum(count.n for count in some), first, last)
