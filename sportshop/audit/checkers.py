"""Checkers: the rules that every correct shop keeps, each a pure function of a history.

All of them follow from one promise: some one-at-a-time order of events, the ledger, explains
every answer. The position that each sale bears tells that order, so checking is a replay and not
a search; a shop that lies about positions only convicts itself.
"""

from collections.abc import Callable

from sportshop.audit import order_rules, stock_rules
from sportshop.audit.history import History
from sportshop.audit.verdict import Verdict, judge

Checker = Callable[[History], Verdict]


def record_is_complete(history: History) -> Verdict:
    """Check that no piece is missing: such a record can convict, but it cannot acquit."""
    return judge("the record of the run is complete", (), history.incomplete)


CHECKERS: tuple[Checker, ...] = (
    record_is_complete,
    order_rules.reads_are_current,
    order_rules.acknowledged_positions_are_new,
    order_rules.positions_are_unique,
    order_rules.acknowledged_orders_are_listed,
    order_rules.lists_are_private,
    order_rules.keys_sell_once,
    order_rules.sales_are_as_asked,
    order_rules.lists_hold_only_what_was_ordered,
    order_rules.every_position_is_known,
    stock_rules.totals_add_up,
    stock_rules.nothing_is_oversold,
    stock_rules.stock_balances,
    stock_rules.receipts_replay,
)


def audit(history: History) -> list[Verdict]:
    """Return the verdict of every checker."""
    return [check(history) for check in CHECKERS]
