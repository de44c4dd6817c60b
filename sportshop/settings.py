"""Settings: every limit of the server, with its default and the reason for it.

Each is a flag of `sportshop serve` (`--idle-seconds`) and an environment variable
(`SPORTSHOP_IDLE_SECONDS`); cli.py makes both from this list, and a test holds README.md to it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def _limit(default: float, tells: str, at_least: float = 1) -> Any:
    return field(default=default, metadata={"help": tells, "at_least": at_least})


@dataclass(frozen=True)
class Limits:
    """What the server bounds, so that no client can take more than its share."""

    connections_max: int = _limit(
        16_000,
        "connections at once; one more is told BUSY and closed"
        " (lowered to what the descriptors allow)",
    )
    waiting_orders_max: int = _limit(
        20_000, "orders that wait for their commit; one more is told BUSY"
    )
    waiting_items_max: int = _limit(
        200_000, "items of the orders that wait for their commit; an order more is told BUSY"
    )
    pipelined_orders_max: int = _limit(
        1_000, "orders of one connection that wait; it is not read from until one is answered"
    )
    pipelined_items_max: int = _limit(
        10_000, "items of these orders; it is not read from until some are answered"
    )
    batch_orders_max: int = _limit(4_000, "orders in one commit")
    batch_items_max: int = _limit(4_000, "items in one commit, or the items of a single order")
    waiting_logins_max: int = _limit(
        10_000, "logins that wait for their password hash; one more is told BUSY"
    )
    login_threads: int = _limit(2, "password hashes at once, each 19 MiB with the default hash")
    login_seconds: float = _limit(60, "time to log in after connecting", 0.01)
    frame_seconds: float = _limit(20, "time from the first byte of a frame to its last", 0.01)
    order_seconds: float = _limit(60, "time from the first item of an order to its last", 0.01)
    idle_seconds: float = _limit(900, "silence of a client that is logged in", 0.01)
    unread_bytes_max: int = _limit(
        1_048_576, "answers that wait for a client to read them; then it is not read from"
    )
    unread_total_bytes_max: int = _limit(
        67_108_864,
        "the same over all connections; then none is read from that has answers to read",
    )
    unread_seconds: float = _limit(
        30, "time in which a client reads none of the answers that wait; then it is cut off", 0.01
    )
    drain_seconds: float = _limit(10, "time to finish after SIGTERM, SIGINT or SIGHUP", 0.01)


@dataclass(frozen=True)
class Settings:
    """What `sportshop serve` is told."""

    host: str = "127.0.0.1"
    port: int = 3333
    store: str = "sqlite:data/shop.db"
    catalogue: Path = Path("data")
    limits: Limits = Limits()
