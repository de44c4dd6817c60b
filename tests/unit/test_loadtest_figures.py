"""Figures: a run in numbers, exact, told apart by outcome; and what exit code it comes to."""

import json

import pytest
from _figures import exit_code, figures
from _page import page
from _part import Part
from _requests import NO_PRODUCT
from _slo import parse
from _summary import summary

from sportshop.audit import Kind, Outcome, Verdict
from tests.unit.histories import EPOCH_US, MS, Run, goods

S = 1_000 * MS
PASSED = [Verdict("all is well", Outcome.PASS)]


def sale() -> Run:
    """Three balls: two sold in the first second, one in the third, then none are left."""
    run = Run()
    run.opens(Ball=3)
    for position, at, took, left in ((8, 0, 400, 2), (9, 500 * MS, 600, 1), (10, 2 * S, 800, 0)):
        run.buys("ann", position, goods("Ball", 1, left), sent=at, answered=at + took)
    refused = {"sent": 2 * S + 100 * MS, "answered": 2 * S + 100 * MS + 200}
    run.refuses("bob", 10, (("Ball", 1),), goods("Ball", 1, 0), **refused)
    run.repeats(run.ops[1], 10)
    run.change(Kind.REPLAYED, sent=3 * S, answered=3 * S + 1_000)
    run.loses("bob", 11, goods("Ball", 1, -1), sent=3 * S + 1)
    return run


def measured(run: Run, reports=(), slos=(), verdicts=PASSED):
    history = run.history()
    history.about["hot_product"] = "Ball"
    return figures(history, reports, verdicts, 0.1, [parse(slo) for slo in slos])


def row(found, name):
    (wanted,) = [each for each in found["latencies_ms"] if each["name"] == name]
    return wanted


def test_outcomes_are_counted_apart() -> None:
    throughput = measured(sale())["throughput"]
    counts = {name: outcome["count"] for name, outcome in throughput.items()}
    expected = {"accepted": 3, "refused": 1, "replayed": 1, "failed": 0, "unknown": 1}
    assert counts == {**expected, "requests": 6}


def test_rates_are_over_the_time_from_the_first_request_to_the_last_answer() -> None:
    found = measured(sale())
    assert found["run"]["seconds"] == 3.001
    assert found["throughput"]["accepted"]["per_s"] == 1.0


def test_latencies_are_exact_and_apart_by_outcome() -> None:
    found = measured(sale())
    accepted = row(found, "NEW_ORDER_ITEM accepted")
    assert (accepted["count"], accepted["mean"]) == (3, 0.6)
    assert (accepted["p50"], accepted["p99"], accepted["max"]) == (0.6, 0.8, 0.8)
    assert row(found, "NEW_ORDER_ITEM refused")["max"] == 0.2
    assert row(found, "NEW_ORDER_ITEM")["max"] == 1.0
    assert row(found, "all")["count"] == 6


def test_an_order_that_was_never_answered_has_no_latency() -> None:
    run = Run()
    run.opens(Ball=3)
    run.loses("ann", 8, goods("Ball", 1, 2))
    assert row(measured(run), "NEW_ORDER_ITEM")["p99"] is None


def test_what_is_not_in_the_record_comes_from_what_the_workers_have_counted() -> None:
    parts = [Part("tag", worker) for worker in range(2)]
    for part in parts:
        part.other("AUTHENTICATION", 1_500_000)
        part.failed.update(AUTHENTICATION=1, GET_PRODUCTS=2, connect=3)
    parts[0].failed["NEW_ORDER_ITEM"] = 1
    found = measured(sale(), [part.report() for part in parts])
    logins = row(found, "AUTHENTICATION")
    assert (logins["count"], logins["failed"]) == (4, 2)
    assert logins["p50"] == pytest.approx(1.5, rel=0.01)
    assert (row(found, "GET_PRODUCTS")["count"], row(found, "GET_PRODUCTS")["failed"]) == (4, 4)
    assert row(found, "connect")["p99"] is None
    assert row(found, "NEW_ORDER_ITEM")["failed"] == 1
    assert found["throughput"]["failed"]["count"] == 1
    assert row(found, "all")["failed"] == 13
    assert found["throughput"]["requests"]["count"] == 6 + 4 + 4 + 6


def test_the_series_has_a_value_a_second() -> None:
    series = measured(sale())["series"]
    assert series["second"] == [0, 1, 2, 3]
    assert series["accepted"] == [2, 0, 1, 0]
    assert series["refused"] == [0, 0, 1, 0]
    assert series["replayed"] == [0, 0, 0, 1]
    assert series["p99_ms"][1] is None


def test_the_hot_products_stock_falls_in_ledger_order() -> None:
    assert measured(sale())["series"]["hot_stock"] == [1, 1, 0, 0]


def test_the_hot_products_stock_is_told_to_the_moment_from_the_start_until_it_is_gone() -> None:
    assert measured(sale())["stock"] == {
        "at_s": [0.0, 0.0004, 0.5006, 2.0008, 3.001],
        "left": [3, 2, 1, 0, 0],
        "sold_out_s": 2.0008,
    }


def test_an_answer_that_comes_late_does_not_put_stock_back() -> None:
    run = Run()
    run.opens(Ball=9)
    run.buys("ann", 8, goods("Ball", 1, 8), sent=0, answered=2 * S)
    run.buys("bob", 9, goods("Ball", 1, 7), sent=0, answered=S)
    assert measured(run)["stock"] == {
        "at_s": [0.0, 1.0, 2.0],
        "left": [9, 7, 7],
        "sold_out_s": None,
    }


def test_of_a_long_sale_some_moments_are_told_and_always_the_one_when_it_is_gone() -> None:
    run = Run()
    run.opens(Ball=5_000)
    for position in range(8, 6_008):
        left = max(0, 5_007 - position)
        run.buys("ann", position, goods("Ball", 1, left), sent=0, answered=position * MS)
    stock = measured(run)["stock"]
    assert len(stock["at_s"]) == len(stock["left"]) <= 601
    assert stock["left"][0] == 5_000
    assert stock["sold_out_s"] == 5.007
    assert (5.007, 0) in zip(stock["at_s"], stock["left"], strict=True)


def test_machines_whose_clocks_differ_start_together() -> None:
    run = Run(clocks={1: "another"})
    run.opens(Ball=9)
    run.buys("ann", 8, goods("Ball", 1, 8), sent=0, answered=S)
    run.buys("bob", 9, goods("Ball", 1, 7), sent=900 * S, answered=901 * S, worker=1)
    assert measured(run)["run"]["seconds"] == 1.0


def test_a_run_in_which_nothing_happened_has_figures() -> None:
    run = Run()
    found = measured(run)
    assert found["run"]["seconds"] == 0
    assert found["throughput"]["requests"] == {"count": 0, "per_s": 0}
    assert json.dumps(found)


def test_latencies_from_the_intended_start_are_of_all_workers_together() -> None:
    parts = [Part("tag", worker) for worker in range(2)]
    for part, ms in zip(parts, (5, 1_000), strict=True):
        part.intended("NEW_ORDER_ITEM", 0, ms * 1_000_000)
        part.missed = 3
    found = measured(sale(), reports=[part.report() for part in parts])
    (orders,) = [r for r in found["intended_latencies_ms"] if r["name"] == "NEW_ORDER_ITEM"]
    assert (orders["count"], found["missed_arrivals"]) == (2, 6)
    assert orders["p50"] == pytest.approx(5, rel=0.01)
    assert orders["max"] == pytest.approx(1_000, rel=0.01)


def test_objectives_are_held_against_the_figures() -> None:
    found = measured(sale(), slos=["NEW_ORDER_ITEM p99<50ms", "accepted>10/s"])
    assert [slo["kept"] for slo in found["slos"]] == [True, False]


FAIL = [Verdict("a rule", Outcome.FAIL, ("it was broken",), 1)]
DOUBT = [Verdict("a rule", Outcome.INCONCLUSIVE, ("nobody knows",), 1)]


def reports(**failed: int):
    part = Part("tag")
    part.failed.update(failed)
    return [part.report()]


@pytest.mark.parametrize(
    ("verdicts", "slos", "failed", "code"),
    [
        (PASSED, [], 0, 0),
        (PASSED, [], 1, 1),
        (PASSED, ["accepted>10/s"], 1, 5),
        (DOUBT, ["accepted>10/s"], 1, 4),
        (FAIL + DOUBT, ["accepted>10/s"], 1, 3),
        ([], [], 0, 4),
    ],
)
def test_a_failed_proof_outranks_the_rest(verdicts, slos, failed: int, code: int) -> None:
    found = measured(sale(), reports(GET_ORDERS=failed), slos, verdicts)
    assert found["exit_code"] == code == exit_code(found)


def test_what_was_asked_before_and_after_the_run_is_no_load() -> None:
    run = sale()
    run.looks("ann", 10, Ball=0)
    before = measured(run)["throughput"]["requests"]["count"]
    run.closes(11, Ball=-1)
    assert measured(run)["throughput"]["requests"]["count"] == before == 7


def test_products_that_do_not_exist_are_counted_unless_that_was_on_purpose() -> None:
    run = sale()
    for name in ("Hat", "Hat", NO_PRODUCT):
        named = goods(name, 1, 0)
        run.add(Kind.NOT_FOUND, "bob", as_of=10, key=run.key(), wanted=((name, 1),), named=named)
    assert measured(run)["throughput"]["refused"]["not_found"] == 2


def test_a_shop_that_answers_no_more_makes_the_run_no_shorter() -> None:
    part = Part("tag", 0)
    part.ended_ns = (EPOCH_US + 10 * S) * 1_000
    part.waited("NEW_ORDER_ITEM", 6_000_000_000)
    found = measured(sale(), [part.report()])
    assert (found["run"]["seconds"], found["throughput"]["accepted"]["per_s"]) == (10, 0.3)
    assert row(found, "NEW_ORDER_ITEM")["max"] == pytest.approx(6_000, rel=0.01)
    assert row(found, "all")["max"] == pytest.approx(6_000, rel=0.01)


def test_orders_that_failed_and_orders_without_an_answer_are_counted_once() -> None:
    run = sale()
    run.loses("bob", 12, goods("Ball", 1, -1))
    run.add(Kind.NOT_DONE, "bob", key=run.key(), wanted=(("Ball", 1),))
    counts = measured(run, reports(NEW_ORDER_ITEM=2))["throughput"]
    assert (counts["failed"]["count"], counts["unknown"]["count"]) == (2, 1)
    names = ("accepted", "refused", "replayed", "failed", "unknown")
    assert sum(counts[name]["count"] for name in names) == counts["requests"]["count"]


def test_what_was_settled_after_the_end_is_no_load() -> None:
    run = sale()
    part = Part("tag", 0)
    part.ended_ns = (EPOCH_US + 2 * S) * 1_000
    throughput = measured(run, [part.report()])["throughput"]
    assert (throughput["accepted"]["count"], throughput["requests"]["count"]) == (3, 3)


def test_orders_that_failed_are_shown_over_time_as_they_are_counted() -> None:
    """In the record an order whose connection was lost looks like any of unknown outcome."""
    part = Part()
    for at in (0, 900 * MS, 2 * S + 1):
        part.order_failed((at + EPOCH_US) * 1_000)
    run = Run()
    run.opens(Ball=9)
    for number, at in enumerate((0, 900 * MS, 2 * S + 1)):
        run.loses("ann", 8 + number, goods("Ball", 1, 8 - number), sent=at)
    found = measured(run, [part.report()])
    assert found["throughput"]["failed"]["count"] == 3
    assert found["throughput"]["unknown"]["count"] == 0
    assert found["series"]["failed"] == [2, 0, 1]


def test_a_run_of_no_time_has_counts_and_no_rates() -> None:
    run = Run()
    run.opens(Ball=9)
    run.buys("ann", 8, goods("Ball", 1, 8), sent=0, answered=1)
    found = measured(run)
    assert found["throughput"]["accepted"] == {"count": 1, "per_s": None}
    assert found["throughput"]["refused"]["per_s"] == 0.0
    assert measured(run, slos=["accepted>1/s"])["slos"][0]["kept"] is False
    assert page(found)
    assert "1 in 0.0 s\n" in summary(found)


def test_errors_of_the_workload_are_added_up_and_fail_a_run_that_passed() -> None:
    one, two = Part(), Part(worker=1)
    for part, kinds in ((one, (ValueError, KeyError)), (two, (ValueError,))):
        for kind in kinds:
            part.task_failed(kind("x"))
    found = measured(sale(), [one.report(), two.report()])
    assert found["task_errors"] == [
        {"error": "ValueError: x", "count": 2},
        {"error": "KeyError: 'x'", "count": 1},
    ]
    assert found["exit_code"] == 1
    assert "ValueError: x" in page(found)


def test_errors_of_the_workload_are_few_kinds_however_many_there_are() -> None:
    part = Part()
    for number in range(1_000):
        part.task_failed(ValueError(f"number {number}"))
    told = part.report().task_errors
    assert len(told) <= 21
    assert sum(told.values()) == 1_000
