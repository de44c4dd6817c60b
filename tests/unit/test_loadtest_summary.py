"""Summary: the screen at the end of a run. It tells all, fits, and is clean."""

from _summary import summary

PASS = {"rule": "nothing is lost", "outcome": "pass", "evidence": [], "found": 0}
FAIL = {
    "rule": "no order is sold twice",
    "outcome": "fail",
    "evidence": [f"order {n} is sold twice" for n in range(1, 6)],
    "found": 1_234,
}


def latencies(name, **more):
    times = dict.fromkeys(["p50", "p90", "p99", "p99.9", "max"], 1.234)
    return {"name": name, "count": 1_000, "failed": 0, **times, **more}


def run(*verdicts, intended=(), slos=(), rows=None, **counts):
    told = {"accepted": 900, "refused": 90, "replayed": 9, "failed": 1, "requests": 1_000} | counts
    return {
        "run": {
            "seconds": 10.0,
            "host": "shop:3333",
            "workload": "mixed",
            "rate": 0,
            "shape": "",
            "users": 100,
            "workers": 1,
            "hot_product": "Ball",
        },
        "throughput": {name: {"count": n, "per_s": n / 10} for name, n in told.items()},
        "latencies_ms": rows or [latencies("NEW_ORDER_ITEM"), latencies("all")],
        "intended_latencies_ms": list(intended),
        "missed_arrivals": 42,
        "slos": list(slos),
        "proof": {
            "outcome": "fail" if FAIL in verdicts else "pass",
            "operations": 1_001,
            "seconds": 0.1,
            "verdicts": list(verdicts),
        },
    }


def test_it_begins_with_what_was_run() -> None:
    first = summary(run(PASS)).splitlines()[0]
    assert first == "shop:3333: mixed workload, 100 shoppers, 1 process, hot product Ball"


def test_orders_of_products_that_do_not_exist_are_pointed_out() -> None:
    told = run(PASS)
    told["throughput"]["refused"]["not_found"] = 80
    assert "(9/s), 80 of them for a product that does not exist" in summary(told)


def test_an_audit_of_nothing_says_why() -> None:
    told = run({**FAIL, "outcome": "inconclusive", "evidence": ["no shop: Connection refused"]})
    told["proof"] |= {"outcome": "inconclusive", "operations": 0}
    last = summary(told).splitlines()[-1]
    assert last == "audit     INCONCLUSIVE: nothing to check: no shop: Connection refused"


def test_it_tells_outcomes_apart() -> None:
    screen = summary(run(PASS))
    assert "accepted          900 in 10.0 s (90/s)" in screen
    assert "refused            90 in 10.0 s (9/s)" in screen
    assert "replayed            9 in" in screen
    assert "failed              1 in" in screen


def test_the_verdict_is_the_last_line_of_a_run_that_passed() -> None:
    last = summary(run(PASS)).splitlines()[-1]
    assert last == "audit     PASS: 1 of 1 rules hold for 1,001 operations, checked in 0.1 s"


def test_a_broken_rule_is_told_with_some_of_its_evidence_and_how_much_there_is() -> None:
    assert summary(run(PASS, FAIL)).splitlines()[-5:] == [
        "audit     FAIL: 1 of 2 rules hold for 1,001 operations, checked in 0.1 s",
        "FAIL: no order is sold twice",
        "  order 1 is sold twice",
        "  order 2 is sold twice",
        "  and 1,232 more",
    ]


def test_even_several_broken_rules_fit_a_screen() -> None:
    rows = [latencies(f"request {n}") for n in range(9)]
    assert len(summary(run(PASS, FAIL, FAIL, FAIL, FAIL, rows=rows)).splitlines()) <= 40


def test_objectives_say_what_was_measured() -> None:
    kept = {"slo": "errors<0.1%", "measured": "0%", "kept": True}
    missed = {"slo": "accepted>100/s", "measured": "90/s", "kept": False}
    screen = summary(run(PASS, slos=[kept, missed]))
    assert "kept      errors<0.1%: 0%\nMISSED    accepted>100/s: 90/s" in screen


def test_an_open_workload_tells_latencies_from_the_intended_start_and_missed_arrivals() -> None:
    assert "intended" not in summary(run(PASS))
    screen = summary(run(PASS, intended=[latencies("all", max=500.0)]))
    assert "from the intended start" in screen
    assert "42 of 1,042 arrivals were never begun" in screen


def test_a_latency_that_was_not_measured_is_a_dash() -> None:
    unmeasured = latencies("GET_ORDERS", p50=None, p90=None, p99=None, max=None, **{"p99.9": None})
    assert summary(run(PASS, rows=[unmeasured])).splitlines()[3].split()[-5:] == ["-"] * 5


def test_nothing_that_a_shop_says_reaches_the_terminal_uncleaned() -> None:
    harmful = {**FAIL, "evidence": ["order of \x1b[2J\u202e"], "found": 1}
    screen = summary(run(harmful))
    assert "\x1b" not in screen
    assert "\u202e" not in screen


def test_a_rate_over_no_time_is_not_shown() -> None:
    told = run(PASS, requests=4)
    told["run"]["seconds"] = 0.000001
    for row in told["throughput"].values():
        row["per_s"] = None
    assert "requests            4 in 0.0 s\n" in summary(told)
    assert "/s" not in summary(told).split("accepted")[-1]


def test_errors_of_the_workload_are_counted_and_said_to_be_its_own() -> None:
    told = run(PASS)
    errors = [("ValueError: items[0]: quantity: expected 1", 1_234), ("KeyError: \x1b[2J", 2)]
    told["task_errors"] = [{"error": text, "count": count} for text, count in errors]
    screen = summary(told)
    assert (
        "task error      1,234 in the workload: ValueError: items[0]: quantity: expected 1"
        in screen
    )
    assert "\x1b" not in screen
    told["task_errors"] *= 2
    assert "task error      1,236 others" in summary(told)
