import pytest
from _slo import UNMEASURED, Kept, check, parse


def latencies(name, count=1000, failed=0, **ms):
    shown = {"mean": 2.0, "p50": 1.0, "p90": 5.0, "p95": 7.0, "p99": 50.0, "max": 90.0}
    return {"name": name, "count": count, "failed": failed, **shown, "p99.9": 60, "p99.99": 80} | ms


def figures(*rows, intended=(), requests=1000, **per_s):
    rates = {"accepted": 10000.0, "refused": 0.0, "replayed": 0.0, "failed": 0.0} | per_s
    throughput = {outcome: {"count": 1, "per_s": rate} for outcome, rate in rates.items()}
    throughput["requests"] = {"count": requests, "per_s": 12345.678}
    return {
        "throughput": throughput,
        "latencies_ms": [*rows, latencies("all")] if requests else [],
        "intended_latencies_ms": list(intended),
    }


def kept(text, run):
    return check(parse(text), run).kept


def measured(text, run):
    return check(parse(text), run).measured


@pytest.mark.parametrize(
    ("text", "holds"),
    [("p99<50ms", False), ("p99<=50ms", True), ("p99>50ms", False), ("p99>=50ms", True)],
)
def test_a_latency_at_the_limit_is_neither_under_nor_over_it(text, holds):
    assert kept(text, figures()) is holds


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("accepted<10000/s", False),
        ("accepted<=10000/s", True),
        ("accepted>10000/s", False),
        ("accepted>=10000/s", True),
    ],
)
def test_a_rate_at_the_limit_is_neither_under_nor_over_it(text, holds):
    assert kept(text, figures()) is holds


@pytest.mark.parametrize(("text", "holds"), [("errors<0.1%", False), ("errors<=0.1%", True)])
@pytest.mark.parametrize(("failed", "count"), [(1, 1000), (3, 3000), (7, 7000)])
def test_one_error_in_a_thousand_is_exactly_a_tenth_of_a_percent(text, holds, failed, count):
    run = figures() | {"latencies_ms": [latencies("all", count=count, failed=failed)]}
    assert check(parse(text), run) == Kept(text, "0.1%", holds)


@pytest.mark.parametrize("limit", ["50ms", "50000us", "0.05s", "50 ms", "50.000ms"])
def test_the_same_limit_in_another_unit_is_the_same_limit(limit):
    assert kept(f"p99<={limit}", figures())
    assert not kept(f"p99<{limit}", figures())


def test_a_latency_that_binary_floats_cannot_write_is_compared_as_it_is_read():
    run = figures(latencies("LOGIN", p50=0.3))
    assert kept("LOGIN p50<=300us", run)
    assert not kept("LOGIN p50<300us", run)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("p50<5ms", "1 ms"),
        ("p90<5s", "0.005 s"),
        ("p95<5us", "7,000 us"),
        ("p99<1ms", "50 ms"),
        ("p99.9<1ms", "60 ms"),
        ("p99.99<1ms", "80 ms"),
        ("max<1ms", "90 ms"),
        ("mean<1ms", "2 ms"),
        ("errors<1%", "0%"),
        ("requests>1/s", "12,346/s"),
        ("refused<1/s", "0/s"),
        ("replayed<1/s", "0/s"),
        ("failed<1/s", "0/s"),
    ],
)
def test_what_was_measured_is_shown_in_the_unit_of_the_limit(text, shown):
    assert measured(text, figures()) == shown


@pytest.mark.parametrize(
    ("p99", "shown"), [(50.0004, "50.0004 ms"), (49.99999, "49.99999 ms"), (51.23456, "51.23 ms")]
)
def test_what_was_measured_is_never_rounded_onto_the_limit(p99, shown):
    assert measured("LOGIN p99<50ms", figures(latencies("LOGIN", p99=p99))) == shown
    assert measured("LOGIN p99<=50ms", figures(latencies("LOGIN", p99=p99))) == shown


def test_a_request_name_picks_its_own_latency_and_its_own_errors():
    run = figures(latencies("NEW_ORDER_ITEM", failed=20, p99=3.0))
    assert measured("NEW_ORDER_ITEM p99<50ms", run) == "3 ms"
    assert measured("NEW_ORDER_ITEM errors<5%", run) == "2%"
    assert measured("errors<5%", run) == "0%"
    assert measured("all p99<60ms", run) == measured("p99<60ms", run) == "50 ms"


def test_a_request_name_may_have_spaces():
    assert measured("place an order  p99 < 9 ms", figures(latencies("place an order"))) == "50 ms"


def test_intended_latencies_are_not_the_measured_ones():
    run = figures(intended=[latencies("NEW_ORDER_ITEM", p99=70.0), latencies("all", p99=80.0)])
    assert measured("intended NEW_ORDER_ITEM p99<50ms", run) == "70 ms"
    assert measured("intended p99<50ms", run) == "80 ms"


@pytest.mark.parametrize(
    "text", ["NO_SUCH p99<50ms", "NO_SUCH errors<1%", "intended p99<50ms", "intended all max>=0s"]
)
def test_what_the_run_did_not_do_is_not_kept(text):
    assert check(parse(text), figures()) == Kept(text, UNMEASURED, kept=False)


@pytest.mark.parametrize("text", ["p99<50ms", "errors<1%", "failed<1/s", "requests>=0/s"])
def test_a_run_without_requests_keeps_nothing(text):
    assert check(parse(text), figures(requests=0)) == Kept(text, UNMEASURED, kept=False)


@pytest.mark.parametrize("row", [{"count": 0}, {"p99": None}, {"p99": float("nan")}])
def test_a_request_without_a_latency_keeps_nothing(row):
    assert measured("LOGIN p99<50ms", figures(latencies("LOGIN", **row))) == UNMEASURED


def test_the_text_is_kept_as_it_was_written_but_for_space_around_it():
    assert parse("  LOGIN p99 <= 1.5 s ").text == "LOGIN p99 <= 1.5 s"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "then < <= > or >="),
        ("p99", "then < <= > or >="),
        ("p99=50ms", "then < <= > or >="),
        ("p99=<50ms", "one of accepted, errors, failed"),
        ("p42<50ms", "one of accepted, errors, failed"),
        ("<50ms", "one of accepted, errors, failed"),
        ("LOGIN <50ms", "one of accepted, errors, failed"),
        ("P99<50ms", "one of accepted, errors, failed"),
        ("p99<", "a number and us or ms or s"),
        ("p99<50", "a number and us or ms or s"),
        ("p99<ms", "a number and us or ms or s"),
        ("p99<-1ms", "a number and us or ms or s"),
        ("p99<nanms", "a number and us or ms or s"),
        ("p99<1e3ms", "a number and us or ms or s"),
        ("p99<1.ms", "a number and us or ms or s"),
        ("p99<\u0665ms", "a number and us or ms or s"),
        ("p99<50%", "a number and us or ms or s"),
        ("p99<50ms<60ms", "a number and us or ms or s"),
        ("p99<50ms 60ms", "a number and us or ms or s"),
        ("p99<" + "9" * 5000 + "ms", "a number and us or ms or s"),
        ("errors<5", "a number and %"),
        ("errors<101%", "at most 100%"),
        ("accepted>10000", "a number and /s"),
        ("accepted>10,000/s", "a number and /s"),
        ("LOGIN accepted>1/s", "no request name before 'accepted'"),
        ("intended accepted>1/s", "a latency after 'intended'"),
        ("intended errors<1%", "a latency after 'intended'"),
    ],
)
def test_an_objective_that_cannot_be_read_is_quoted_with_what_was_expected(text, expected):
    with pytest.raises(ValueError, match="cannot read") as refused:
        parse(text)
    assert repr(text) in str(refused.value)
    assert expected in str(refused.value).partition(": expected ")[2]


@pytest.mark.parametrize(
    ("missed", "holds", "told"), [(0, True, "0%"), (10, False, "1%"), (9, True, "0.9009%")]
)
def test_missed_arrivals_are_a_share_of_those_that_were_due(missed, holds, told):
    run = figures(intended=[latencies("all", count=990), latencies("NEW_ORDER_ITEM", count=990)])
    run["missed_arrivals"] = missed
    assert (kept("missed<1%", run), measured("missed<1%", run)) == (holds, told)


def test_a_closed_workload_has_no_arrivals_to_miss():
    run = figures() | {"missed_arrivals": 0}
    assert measured("missed<1%", run) == UNMEASURED
