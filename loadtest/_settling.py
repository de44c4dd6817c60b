"""Settling: at the end of a run, asking again for what was sold, and for what nobody knows of.

Knows no Locust and no rule.
"""

import logging
import time
from collections.abc import Callable, Iterable

import gevent
from _buying import Customer
from _options import Account, Address
from _part import Part, Unsettled
from gevent.pool import Pool

from sportshop.client.deadline import pause_s

SETTLE_S_MAX = 15.0  # a shop that crashed and is being restarted is up by then
OLD_S_MAX = 3.0
SETTLERS = 20
Ask = Callable[[Customer, Unsettled], bool]
_log = logging.getLogger("loadtest")


def settle(part: Part, address: Address) -> None:
    """Ask once more for what was sold long ago, then for what has an unknown outcome.

    What stays unknown counts as failed. Raises whatever went wrong in the load test itself.
    """
    for order in part.unsettled.values():
        part.waited("NEW_ORDER_ITEM", part.ended_ns - order.sent_ns)
    _ask(part, address, part.old_keys, Customer.ask_again, time.monotonic() + OLD_S_MAX)
    gives_up_at = time.monotonic() + SETTLE_S_MAX
    failures = 0
    while part.unsettled and time.monotonic() < gives_up_at:
        before = len(part.unsettled)
        _ask(part, address, list(part.unsettled.values()), Customer.settle, gives_up_at)
        if len(part.unsettled) == before:
            failures += 1
            gevent.sleep(pause_s(failures))
    if part.unsettled:
        never = len(part.unsettled)
        for _ in range(never):
            part.order_failed(part.ended_ns)
        _log.error("%d orders were not answered, though they were sent again", never)


def _ask(
    part: Part, address: Address, orders: Iterable[Unsettled], ask: Ask, gives_up_at: float
) -> None:
    """Send orders again with their keys, each as its customer."""
    by_account: dict[Account, list[Unsettled]] = {}
    for order in orders:
        by_account.setdefault(order.account, []).append(order)
    pool = Pool(SETTLERS)
    problems: list[Exception] = []
    for account, own in by_account.items():
        pool.spawn(_ask_each, Customer(part, address, account), own, ask, problems)
    pool.join(max(0.0, gives_up_at - time.monotonic()))
    pool.kill()
    if problems:
        raise problems[0]


def _ask_each(
    client: Customer, orders: Iterable[Unsettled], ask: Ask, problems: list[Exception]
) -> None:
    try:
        for order in orders:
            if not ask(client, order):
                break
    except Exception as problem:  # it is raised where somebody waits
        problems.append(problem)
    finally:
        client.hang_up()
