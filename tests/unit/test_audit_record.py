"""The record itself: what it holds, and what it does not take."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sportshop.audit import (
    Goods,
    Kind,
    Outcome,
    Recorder,
    Told,
    When,
    audit,
    entry_digest,
    merge,
    worst,
)
from sportshop.audit.books import Books
from sportshop.audit.columns import order_of
from sportshop.audit.history import NUMBER_MAX, Block
from tests.bench.histories import million
from tests.unit.histories import ANN, Entry, Run, correct_run, goods, told

NOW = When(0, 1_000, 2_000)
numbers = st.integers(-NUMBER_MAX, NUMBER_MAX)
quantities = st.integers(0, 2**32 - 1)
any_stock = (
    st.sampled_from([-(2**31) - 1, -(2**31), 2**31 - 1, 2**31]) | st.integers(0, 9) | numbers
)


def block_of(recorder: Recorder) -> Block:
    """Return what a worker wrote, as it arrives at the master."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(recorder.block()), type=Block)


# What it holds.


def test_an_order_or_a_refusal_of_one_item_takes_48_bytes_and_three_items_64() -> None:
    recorder = Recorder(0, "clock")
    recorder.receipt(NOW, 1, [("Ball", 1)], Told(1, [goods("Ball", 1, 4)], 14990), 1, False)
    recorder.refused(Kind.SOLD_OUT, NOW, 2, [("Ball", 9)], 1, Goods("Ball", 9, 0, 4))
    recorder.refused(Kind.NOT_FOUND, NOW, 3, [("Hat", 2)], 1, Goods("Hat", 0, 0, 0))
    block = recorder.block()
    assert len(block.operations) + len(block.items) == 3 * 48
    balls = [goods("Ball", 1, left) for left in (3, 2, 1)]
    recorder.receipt(NOW, 4, [("Ball", 1)] * 3, Told(2, balls, 3 * 14990), 2, False)
    block = recorder.block()
    assert len(block.operations) + len(block.items) == 3 * 48 + 64


@given(st.lists(st.builds(Goods, st.text(max_size=3), quantities, numbers, any_stock), max_size=5))
def test_an_item_is_told_as_it_was_recorded_however_large(items: list[Goods]) -> None:
    """Stocks beyond 32 bits lie in a table of the block, which merging renumbers."""
    recorders = [Recorder(worker, "clock") for worker in range(2)]
    for worker, recorder in enumerate(recorders):
        told = items[:: 1 - 2 * worker]  # so that the tables are numbered in another order
        recorder.receipt(NOW, 1, [], Told(1, told, 0), 1, False)
    books = Books(merge(map(block_of, recorders)))
    names = [books.names[product] for product in books.product[:]]
    columns = (books.quantity[:].tolist(), books.price[:].tolist(), books.stock.tolist())
    assert [Goods(*row) for row in zip(names, *columns, strict=True)] == [*items, *items[::-1]]


def test_what_was_told_beside_the_items_is_told_as_it_was_recorded() -> None:
    recorder = Recorder(0, "clock")
    recorder.user(ANN)
    ball = goods("Ball", 1, 4)
    recorder.products(NOW, 7, {"Ball": (14990, 5)}, Kind.PRODUCTS, sold_out=False)
    recorder.receipt(NOW, 1, [("Ball", 1)], Told(8, [ball], 1), 8, False)
    recorder.receipt(NOW, 1, [("Ball", 1)], Told(8, [ball], 14990), 9, True)
    recorder.receipt(NOW, 1, [("Ball", 1)], Told(8, [ball], -1), 10, True)
    recorder.refused(Kind.SOLD_OUT, NOW, 2, [("Ball", 5)], 11, Goods("Ball", 5, 0, 4))
    recorder.orders(NOW, 12, 20, 2**40, [1, 2])
    recorder.final_list(NOW, 13, 7, [(0, 1, Told(8, [ball], -5))])
    other = Recorder(1, "clock")
    other.user("bob")
    other.receipt(NOW, 1, [("Ball", 1)], Told(2**62, [ball], 3), 2**62, True)
    books = Books(merge(map(block_of, (recorder, other))))
    assert books.position.tolist() == [0, 8, 8, 8, 0, 0, 0, 8, 2**62]
    assert books.as_of.tolist() == [7, 8, 9, 10, 11, 12, 13, 13, 2**62]
    assert books.total.tolist() == [0, 1, 14990, -1, 0, 0, 0, -5, 3]
    assert books.length.tolist() == [1] + [-1] * 8
    assert not books.is_whole.any()
    limit = int(books.firsts[5])
    assert (books.stock[limit : limit + 2].tolist(), books.quantity[limit]) == ([20, 2**40], 2)


@given(
    numbers,
    numbers,
    st.lists(
        st.builds(Goods, st.text(max_size=3), st.integers(0, 2**32 - 1), numbers, numbers),
        max_size=3,
    ),
)
def test_an_order_has_the_same_digest_alone_and_in_a_column(
    position: int, total: int, items: list[Goods]
) -> None:
    told = Told(abs(position), items, total)
    recorder = Recorder(0, "clock")
    recorder.receipt(NOW, 1, [("Ball", 1)], told, told.position, False)
    books = Books(merge([recorder.block()]))
    assert int(books.digests(np.array([0]))[0]) == entry_digest(told)


def test_workers_that_number_customers_and_products_differently_are_one_history() -> None:
    recorders = [Recorder(number, "clock") for number in range(2)]
    for number, names in enumerate([("ann", "bob"), ("bob", "ann")]):
        for user in names:
            when = recorders[number].user(user), 1_000, 2_000
            offer = goods(f"{user}'s", 1, 4)
            told = Told(number + 1, [offer], 14990)
            recorders[number].receipt(When(*when), 1, [(offer.name, 1)], told, number + 1, False)
    books = Books(merge(map(block_of, recorders)))
    assert [books.user(at) for at in range(4)] == ["ann", "bob", "bob", "ann"]
    assert [books.names[product] for product in books.product[:]] == [
        "ann's",
        "bob's",
        "bob's",
        "ann's",
    ]


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 5)))
def test_numbers_are_put_in_order_and_equal_ones_stay_as_they_came(numbers: list[int]) -> None:
    column = np.array(numbers, np.int64)
    assert order_of(column).tolist() == np.argsort(column, kind="stable").tolist()


# What it does not take.


def test_a_list_of_more_products_than_fit_makes_the_record_incomplete() -> None:
    recorder = Recorder(0, "clock")
    recorder.user(ANN)
    recorder.remark("is not in order")
    many = {f"product {number}": (100, 1) for number in range(65_536)}
    recorder.products(NOW, 1, many, Kind.OPENING)
    recorder.refused(Kind.UNKNOWN, When(0, 1_000, 0), 1, [("Ball", 1)])
    history = merge([block_of(recorder)])
    assert history.incomplete == ["an answer of 65536 items is more than can be recorded"]
    assert (len(history), history.remarks) == (1, [])
    assert worst(audit(history)) is Outcome.INCONCLUSIVE


def test_as_many_products_as_fit_are_audited() -> None:
    recorder = Recorder(0, "clock")
    many = {f"product {number}": (100, 1) for number in range(65_535)}
    recorder.user("ann")
    for kind in (Kind.OPENING, Kind.PRODUCTS, Kind.CLOSING):
        recorder.products(NOW, 0, many, kind)
    assert worst(audit(merge([recorder.block()], alone=True))) is Outcome.PASS


def test_two_records_of_one_worker_make_the_history_incomplete() -> None:
    blocks = [Recorder(3, "clock").block(), Recorder(3, "clock").block()]
    assert "two records of worker 3" in merge(blocks).incomplete[0]


def test_only_the_first_thousand_contradictions_are_noted_and_none_without_end() -> None:
    recorder = Recorder(0, "clock")
    recorder.user(ANN)
    for _ in range(1_500):
        recorder.remark("x" * 10_000)
    recorder.refused(Kind.UNKNOWN, NOW, 1, [])
    remarks = recorder.block().remarks
    assert (len(remarks), len(remarks[0].text)) == (1_000, 500)


@pytest.mark.parametrize("far", [2**37, 2**38, 2**61, 2**62 - 8])
def test_a_history_is_audited_wherever_in_the_ledger_it_is(far: int) -> None:
    run = correct_run()
    moved = Run(alone=True)
    for op in run.ops:
        told = op.told and op.told._replace(position=op.told.position + far)
        entries = tuple(
            replace(one, told=one.told._replace(position=one.told.position + far))
            for one in op.entries
        )
        moved.ops.append(replace(op, told=told, entries=entries, as_of=op.as_of + far))
    assert [v for v in audit(moved.history()) if v.outcome is not Outcome.PASS] == []
    moved.change(Kind.PRODUCTS, ANN, as_of=far + 8)
    assert worst(audit(moved.history())) is Outcome.FAIL


def test_a_shop_that_lies_as_high_as_it_can_is_convicted_and_breaks_nothing() -> None:
    run = Run(first=0)
    run.opens(Ball=5)
    highest = goods("Ball", 2**32 - 1, NUMBER_MAX, 10**17)
    run.buys(ANN, NUMBER_MAX, highest)
    run.change_told(NUMBER_MAX, lambda sold: sold._replace(total=10**17))
    sold = run.ops[-1]
    run.repeats(sold, NUMBER_MAX)
    run.refuses(ANN, NUMBER_MAX, (("Ball", 2**32 - 1),), goods("Ball", 2**32 - 1, -NUMBER_MAX))
    run.looks(ANN, NUMBER_MAX, Ball=-NUMBER_MAX)
    run.closes(NUMBER_MAX, Ball=NUMBER_MAX)
    run.change(Kind.FINAL, ANN, entries=(Entry(0, 1, sold.told),))
    assert worst(audit(run.history())) is Outcome.FAIL


def test_a_lost_update_is_found_however_large_the_stock() -> None:
    run = Run(first=0)
    run.opens(Ball=2**40 + 5)
    run.buys(ANN, 1, goods("Ball", 1, 2**40 + 4))
    run.looks(ANN, 1, Ball=2**40 + 4)
    run.buys(ANN, 2, goods("Ball", 1, 2**40 + 3))
    run.lists(ANN, 2)
    run.closes(2, Ball=2**40 + 3)
    assert worst(audit(run.history())) is Outcome.PASS
    run.change_told(2, lambda sold: sold._replace(items=(goods("Ball", 1, 2**40 + 4),)))
    (lost, _) = [one for one in audit(run.history()) if one.outcome is Outcome.FAIL]
    assert f"left {2**40 + 4} of Ball: after order 1 of ann (1 Ball) it is {2**40 + 3}" in str(lost)


# The benchmark's history.


def test_the_history_of_the_benchmark_passes_and_a_changed_one_fails() -> None:
    history = million(5_000)
    assert [v for v in audit(history) if v.outcome is not Outcome.PASS] == []
    assert set(history.operations["kind"].tolist()) >= set(range(13)) - {Kind.NOT_FOUND}
    sold = np.flatnonzero(history.operations["kind"] == Kind.ACCEPTED)
    history.operations["place"][sold[50]] += 1
    assert worst(audit(history)) is Outcome.FAIL


def test_a_repeat_that_tells_another_total_is_convicted_by_the_rules_about_totals() -> None:
    run = correct_run()
    run.change(Kind.REPLAYED, told=told(8, goods("Ball", 1, 4))._replace(total=1))
    verdicts = [verdict for verdict in audit(run.history()) if verdict.outcome is Outcome.FAIL]
    assert [verdict.rule for verdict in verdicts] == [
        "an order is told alike in receipts and in lists",
        "every total is the sum of its items",
    ]
    assert "the repeat of order 8 of ann (1 Ball), as of 9" in verdicts[1].evidence[0]
    assert "comes to 149.90, told was 0.01" in verdicts[1].evidence[0]


def test_an_order_list_that_is_wrong_is_told_with_its_newest_order() -> None:
    run = correct_run()
    other = told(2**40, goods("Ball", 1, 4))
    run.change(Kind.ORDERS, entries=(Entry(0, 9, other), *run.final(ANN)))
    (verdict,) = [one for one in audit(run.history()) if one.outcome is Outcome.FAIL]
    assert f"has 3 orders, the newest {2**40}: by the ledger it has 2, the newest 10" in str(
        verdict
    )


def test_an_answer_that_came_before_its_request_is_a_fault() -> None:
    run = correct_run()
    first = run.ops[run.find(Kind.ACCEPTED, ANN)]
    run.change(Kind.ACCEPTED, ANN, answered=first.sent - 2)
    [fault] = [one for one in audit(run.history()) if one.outcome is Outcome.FAIL]
    assert fault.rule == "every answer fits its request and itself"
    assert "order 8 of ann" in fault.evidence[0]
    assert fault.evidence[0].endswith("was answered before it was sent")


def test_an_error_that_was_said_unasked_is_not() -> None:
    run = correct_run()
    run.change(Kind.NOT_DONE, answered=run.ops[run.find(Kind.NOT_DONE)].sent - 2)
    assert worst(audit(run.history())) is Outcome.PASS


def test_an_answer_that_is_none_is_a_fault_though_no_operation_is_its() -> None:
    recorder = Recorder(3, "clock")
    for _ in range(2_000):
        recorder.violation("the answer to GET_ORDERS of ann is nonsense" + "!" * 1_000)
    history = merge([block_of(recorder)])
    [fault] = [one for one in audit(history) if one.outcome is Outcome.FAIL]
    assert fault.rule == "every answer fits its request and itself"
    assert fault.evidence[0].startswith("the answer to GET_ORDERS of ann is nonsense!")
    assert (fault.found, max(map(len, history.violations))) == (1_000, 500)
