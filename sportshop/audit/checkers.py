"""Checkers: the rules that every correct shop keeps, each a pure function of a run's books.

All of them follow from one promise: some one-at-a-time order of events, the ledger, explains
every answer, and agrees with the order in which things were seen to happen. The position that each
answer bears tells that order, so checking is a replay and not a search, and takes as long as
sorting; a shop that lies about positions only convicts itself.
"""

from collections.abc import Callable

import numpy as np

from sportshop.audit import key_rules, order_rules, stock_rules, time_rules
from sportshop.audit.books import Books
from sportshop.audit.history import History, Kind
from sportshop.audit.verdict import Findings, Verdict, judge

Checker = Callable[[Books], Verdict]


def record_is_complete(books: Books) -> Verdict:
    """Check that no piece is missing: such a record can convict, but it cannot acquit."""
    found = Findings()
    for reason in books.history.incomplete:
        found.doubt(lambda: reason)
    if books.opening is None:
        found.doubt(lambda: "the stock at the start is not known")
    if books.closing is None:
        found.doubt(lambda: "the stock at the end is not known")
    asked = books.buyer[(books.kind <= Kind.UNKNOWN) | (books.kind == Kind.ORDERS)]
    users = np.unique(asked)
    for user in users[books.read_till[users] < 0].tolist():
        found.doubt(lambda: f"there is no final list of the orders of {books.history.users[user]}")
    return judge("the record of the run is complete", found)


CHECKERS: tuple[Checker, ...] = (
    record_is_complete,
    order_rules.answers_fit_what_was_asked,
    order_rules.positions_are_unique,
    order_rules.new_orders_have_new_positions,
    order_rules.positions_have_no_gaps,
    time_rules.ledger_agrees_with_real_time,
    key_rules.keys_sell_once,
    key_rules.reused_keys_were_used,
    key_rules.sold_keys_are_not_refused,
    key_rules.refused_orders_leave_no_trace,
    key_rules.unknown_orders_are_as_asked,
    order_rules.orders_are_told_alike,
    order_rules.acknowledged_orders_are_listed,
    order_rules.lists_are_private,
    order_rules.lists_end_at_their_as_of,
    order_rules.order_lists_replay,
    stock_rules.prices_are_the_list_s,
    stock_rules.totals_add_up,
    stock_rules.receipts_replay,
    stock_rules.product_lists_replay,
    stock_rules.stock_never_rises,
    stock_rules.refusals_are_true,
    stock_rules.nothing_is_oversold,
    stock_rules.final_stock_balances,
)


def audit(
    history: History, progress: Callable[[int, int, str], None] = lambda *_: None
) -> list[Verdict]:
    """Return the verdict of every checker. `progress` hears how many of how many are done."""
    books = Books(history)
    verdicts = []
    for number, check in enumerate(CHECKERS):
        progress(number, len(CHECKERS), check.__name__)
        verdicts.append(check(books))
    return verdicts
