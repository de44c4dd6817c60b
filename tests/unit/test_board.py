from typing import Any

import pytest
from _board import Board

PRICE = 14990


class Clock:
    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def board(clock):
    """The board of a run that begins with 10 balls and 5 bats."""
    board = Board(clock)
    board.begin("run", {"Ball": 10, "Bat": 5}, 100)
    return board


def worker(clock, tag="run"):
    """Return a worker's board: it does not know what there was at the start."""
    board = Board(clock)
    board.begin(tag, {}, 100)
    return board


def sell(board, position, left, quantity=1, name="Ball"):
    board.accepted([(name, quantity, PRICE, left)], position)


def row(board, name="Ball") -> dict[str, Any]:
    return next(row for row in board.rows() if row["product"] == name)


# What the answers tell.


def test_a_product_has_a_row_before_anybody_wants_it(board):
    assert board.rows() == [
        {"product": name, "start": start, "sold": 0, "refused": 0, "left": start}
        | {"violations": 0, "rate": 0.0}
        for name, start in [("Ball", 10), ("Bat", 5)]
    ]


def test_units_are_counted_as_sold_and_orders_as_accepted(board, clock):
    sell(board, 101, left=7, quantity=3)
    sell(board, 102, left=6)
    clock.now_s += 2
    assert (row(board)["sold"], row(board)["left"], row(board)["rate"]) == (4, 6, 1.0)


def test_an_order_that_names_a_product_twice_is_one_order(board, clock):
    board.accepted([("Ball", 1, PRICE, 7), ("Ball", 2, PRICE, 7)], 101)
    clock.now_s += 1
    assert (row(board)["sold"], row(board)["rate"]) == (3, 1.0)


def test_an_order_of_two_products_counts_for_both_and_once_in_the_total(board, clock):
    board.accepted([("Ball", 1, PRICE, 9), ("Bat", 1, PRICE, 4)], 101)
    clock.now_s += 1
    rows = board.rows()
    assert [each["rate"] for each in rows] == [1.0, 1.0]
    assert board.total(rows) == {
        "product": "all products",
        "start": 15,
        "sold": 2,
        "refused": 0,
        "left": 13,
        "violations": 0,
        "rate": 1.0,
    }


def test_what_is_left_is_what_the_latest_position_told_whatever_comes_last(board):
    sell(board, 102, left=8)
    sell(board, 101, left=9)
    assert row(board)["left"] == 8
    board.seen("Ball", 3, as_of=110)
    board.seen("Ball", 5, as_of=109)
    assert row(board)["left"] == 3


def test_what_was_asked_for_most_comes_first(board):
    board.refused("Bat")
    assert [each["product"] for each in board.rows()] == ["Bat", "Ball"]
    sell(board, 101, left=9)
    sell(board, 102, left=8)
    assert [each["product"] for each in board.rows()] == ["Ball", "Bat"]
    assert row(board, "Bat")["refused"] == 1


# Violations.


def test_selling_out_is_no_violation(board):
    sell(board, 101, left=0, quantity=10)
    board.refused("Ball")
    assert row(board)["violations"] == 0


def test_each_unit_beyond_the_stock_is_a_violation_although_the_shop_tells_of_none(board):
    sell(board, 101, left=0, quantity=9)
    sell(board, 102, left=0, quantity=3)
    assert row(board)["violations"] == 2


def test_a_receipt_that_leaves_less_than_nothing_is_a_violation(board):
    sell(board, 101, left=-1)
    assert row(board)["violations"] == 1


def test_a_list_that_tells_of_less_than_nothing_is_a_violation(board):
    board.seen("Bat", -2, as_of=101)
    assert row(board, "Bat")["violations"] == 1
    assert board.total(board.rows())["violations"] == 1


def test_what_was_not_in_the_list_cannot_be_sold(board):
    sell(board, 101, left=4, quantity=2, name="Ghost")
    assert (row(board, "Ghost")["start"], row(board, "Ghost")["violations"]) == (None, 2)


# Rates.


def test_a_rate_is_of_the_last_ten_seconds(board, clock):
    for second in range(30):
        board.look()
        sell(board, 101 + second, left=0)
        clock.now_s += 1
    assert row(board)["rate"] == 1.0
    for _ in range(11):
        board.look()
        clock.now_s += 1
    assert row(board)["rate"] == 0.0


def test_a_rate_needs_nobody_who_watches(board, clock):
    """A page that is opened late shows the rate of now, not that of the hour before."""
    sell(board, 101, left=0, quantity=10)
    for _ in range(3600):
        clock.now_s += 1
        board.look()
    for position in range(102, 112):
        sell(board, position, left=0)
    assert row(board)["rate"] == 1.0


def test_the_rate_of_the_first_moment_is_not_blown_up(board, clock):
    sell(board, 101, left=9)
    clock.now_s += 0.001
    assert row(board)["rate"] == 1.0


def test_looks_do_not_pile_up(board, clock):
    for _ in range(10_000):
        board.look()
        clock.now_s += 0.1
    assert len(board._looks) <= 12


def test_when_the_run_is_over_its_rate_is_that_of_all_of_it(board, clock):
    for position in range(101, 109):
        sell(board, position, left=0)
    clock.now_s += 60
    board.end(4.0)
    assert row(board)["rate"] == board.total(board.rows())["rate"] == 2.0
    clock.now_s += 3600
    assert row(board)["rate"] == 2.0


def test_the_rate_of_a_run_that_took_no_time_is_none(board):
    board.end(0.0)
    assert row(board)["rate"] == 0.0


# Runs.


def test_a_run_begins_with_nothing_of_the_one_before(board, clock):
    sell(board, 101, left=0, quantity=20)
    board.receive("w1", worker(clock).report())
    board.end(5.0)
    board.begin("next", {"Ball": 3}, 200)
    clock.now_s += 1
    assert board.rows() == [
        {"product": "Ball", "start": 3, "sold": 0, "refused": 0, "left": 3}
        | {"violations": 0, "rate": 0.0}
    ]
    assert board.total(board.rows())["rate"] == 0.0


def test_an_order_of_the_next_run_is_counted_although_its_number_was_used(board):
    sell(board, 101, left=9)
    board.begin("next", {"Ball": 9}, 101)
    sell(board, 102, left=8)
    board.end(1.0)
    assert row(board)["rate"] == 1.0


# Workers.


def test_a_master_shows_the_sum_of_its_workers(board, clock):
    one, two = worker(clock), worker(clock)
    sell(one, 101, left=9)
    sell(two, 102, left=7, quantity=2)
    two.refused("Ball")
    clock.now_s += 1
    board.receive("w1", one.report())
    board.receive("w2", two.report())
    assert row(board) == {
        "product": "Ball",
        "start": 10,
        "sold": 3,
        "refused": 1,
        "left": 7,
        "violations": 0,
        "rate": 2.0,
    }
    assert board.total(board.rows())["rate"] == 2.0


def test_an_oversell_shows_although_no_worker_alone_has_sold_too_much(board, clock):
    for name, position in (("w1", 101), ("w2", 102)):
        seller = worker(clock)
        sell(seller, position, left=0, quantity=6)
        board.receive(name, seller.report())
    assert row(board)["violations"] == 2


def test_a_report_counts_once_even_if_it_comes_twice(board, clock):
    seller = worker(clock)
    sell(seller, 101, left=9)
    report = seller.report()
    board.receive("w1", report)
    board.receive("w1", report)
    assert row(board)["sold"] == 1


def test_a_report_that_is_lost_is_made_up_for_by_the_next(board, clock):
    seller = worker(clock)
    sell(seller, 101, left=9)
    seller.report()
    sell(seller, 102, left=8)
    board.receive("w1", seller.report())
    assert row(board)["sold"] == 2


def test_a_report_that_comes_after_a_newer_one_is_let_go(board, clock):
    seller = worker(clock)
    old = seller.report()
    sell(seller, 101, left=9)
    board.receive("w1", seller.report())
    board.receive("w1", old)
    assert row(board)["sold"] == 1


def test_a_report_of_the_run_before_is_let_go(board, clock):
    late = worker(clock, tag="before")
    sell(late, 101, left=9)
    board.receive("w1", late.report())
    assert row(board)["sold"] == 0


def test_a_worker_that_reports_no_more_has_no_rate_but_keeps_its_counts(board, clock):
    seller = worker(clock)
    sell(seller, 101, left=9)
    board.receive("w1", seller.report())
    assert row(board)["rate"] == 1.0
    clock.now_s += 10.1
    assert (row(board)["sold"], row(board)["rate"]) == (1, 0.0)
    assert board.total(board.rows())["rate"] == 0.0


def test_a_report_survives_the_way_to_the_master(board, clock):
    """Locust packs messages with msgpack, which makes lists of tuples."""
    import msgspec

    seller = worker(clock)
    sell(seller, 101, left=9, name="Bola ⚽")
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(seller.report()))
    board.receive("w1", sent)
    assert row(board, "Bola ⚽")["sold"] == 1


def test_a_worker_notes_that_a_product_it_never_sold_is_gone(board, clock):
    watcher = worker(clock)
    watcher.seen("Bat", 0, as_of=120)
    board.receive("w1", watcher.report())
    assert (row(board, "Bat")["sold"], row(board, "Bat")["left"]) == (0, 0)
