import re
from html.parser import HTMLParser

import pytest
from _page import POINTS_MAX, page

VOID = {"meta"}  # elements without an end
EMPTY = {"path", "circle"}  # SVG elements that end themselves
SERIES = ("accepted", "refused", "replayed", "failed", "p50_ms", "p99_ms", "hot_stock")
ATTACK = "<script>alert('1')</script>&\"quoted\""


class Reader(HTMLParser):
    """Fails on an element that is not ended where it should be; keeps tags and text."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""

    def handle_starttag(self, tag, attributes):
        assert tag not in EMPTY, f"{tag} does not end itself"
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        assert tag in EMPTY
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.text += text if self.open[-1:] != ["style"] else ""


def read(summary):
    html = page(summary)
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert not reader.open
    assert not re.search(r"\bnan\b", html)
    assert html.count("<section") == html.count("<h2>")
    return reader


def latencies(name):
    row = {"name": name, "count": 5000, "failed": 2, "mean": 1.234, "p50": 0.4567, "p90": 2.0}
    return row | {"p95": 3.0, "p99": 12.34, "p99.9": 50.0, "p99.99": 80.0, "max": 1234.5}


def series(length, **changed):
    shown = {name: [float(second) for second in range(length)] for name in SERIES}
    return {"second": list(range(length))} | shown | changed


def stock(at_s, left):
    sold_out_s = next((at for at, pieces in zip(at_s, left, strict=True) if pieces <= 0), None)
    return {"at_s": at_s, "left": left, "sold_out_s": sold_out_s}


def flash_sale(**changed):
    """Return a run of 4 s, in which the stock is gone after the third."""
    rates = {"accepted": (1000, 250.0), "refused": (3000, 750.0), "replayed": (10, 2.5)}
    rates |= {"failed": (2, 0.5), "unknown": (0, 0.0), "requests": (4321, 1080.25)}
    run = {"host": "tcp://shop:3333", "started_at": "2026-07-25T14:03:11.5Z", "seconds": 4.0}
    verdicts = [{"rule": "nothing is oversold", "outcome": "pass", "found": 0, "evidence": []}]
    return {
        "run": run | {"users": 50, "workers": 1, "hot_product": "Football"},
        "throughput": {name: {"count": n, "per_s": rate} for name, (n, rate) in rates.items()},
        "latencies_ms": [latencies("all"), latencies("NEW_ORDER_ITEM")],
        "intended_latencies_ms": [],
        "missed_arrivals": 0,
        "slos": [],
        "proof": {"outcome": "pass", "operations": 4010, "seconds": 1.5, "verdicts": verdicts},
        "series": series(4, hot_stock=[900, 400, 0, 0]),
        "stock": stock([0, 0.5, 1.5, 2.25], [1000, 900, 400, 0]),
        "exit_code": 0,
    } | changed


def nothing_asked():
    throughput = {name: {"count": 0, "per_s": 0.0} for name in flash_sale()["throughput"]}
    silent = dict.fromkeys(("p50_ms", "p99_ms", "hot_stock"), [None] * 3)
    still = dict.fromkeys(("accepted", "refused", "replayed", "failed"), [0] * 3)
    run = flash_sale()["run"] | {"seconds": 0.0, "users": 0, "workers": 0}
    proof = {"outcome": "inconclusive", "operations": 0, "seconds": 0.0, "verdicts": []}
    return flash_sale(
        run=run,
        throughput=throughput,
        latencies_ms=[],
        proof=proof,
        series=series(3, **silent, **still),
        stock=stock([], []),
        exit_code=4,
    )


def found(outcome, evidence=(), count=0):
    verdict = {"rule": "no loss", "outcome": outcome, "found": count, "evidence": list(evidence)}
    return flash_sale()["proof"] | {"outcome": outcome, "verdicts": [verdict]}


def paths(reader, kind):
    return [
        attributes["d"]
        for tag, attributes in reader.tags
        if tag == "path" and attributes["class"] == kind
    ]


def test_the_sections_come_in_the_order_in_which_they_are_asked_for():
    intended = [latencies("NEW_ORDER_ITEM")]
    text = read(flash_sale(intended_latencies_ms=intended, missed_arrivals=7)).text
    headings = (
        "Load test of tcp://shop:3333",
        "Exit code 0: all is well",
        "Throughput",
        "LatencyFrom",
        "Latency from the intended start",
        "Objectives",
        "Throughput over time",
        "Latency over time",
        "Stock of Football",
        "Proof4,010 operations",
    )
    at = 0
    for heading in headings:
        at = text.index(heading, at)


def test_the_page_loads_nothing_and_runs_nothing():
    html = page(flash_sale())
    names = {name for _, attributes in read(flash_sale()).tags for name in attributes}
    assert "http://" not in html
    assert "https://" not in html
    assert "<script" not in html
    assert "@import" not in html
    assert "url(" not in html
    assert not {"src", "href", "style", "onclick", "onload"} & names
    assert "default-src 'none'" in html


def test_every_text_of_the_run_is_escaped():
    run = flash_sale()["run"] | {"host": ATTACK, "started_at": ATTACK, "hot_product": ATTACK}
    summary = flash_sale(
        run=run,
        latencies_ms=[latencies(ATTACK)],
        intended_latencies_ms=[latencies(ATTACK)],
        slos=[{"slo": ATTACK, "measured": ATTACK, "kept": False}],
        proof=found("fail", [ATTACK], 1) | {"outcome": ATTACK},
        exit_code=ATTACK,
    )
    summary["proof"]["verdicts"][0] |= {"rule": ATTACK, "outcome": ATTACK}
    reader = read(summary)
    assert "script" not in {tag for tag, _ in reader.tags}
    assert reader.text.count(ATTACK) == 12
    assert reader.text.count(ATTACK.upper()) == 2
    assert ATTACK not in page(summary)


def test_a_page_can_always_be_written_to_a_file():
    assert (
        "half ? of" in page(flash_sale(proof=found("fail", ["half \ud800 of"]))).encode().decode()
    )


@pytest.mark.parametrize("outcome", ["pass", "fail", "inconclusive"])
def test_the_verdict_is_a_badge_in_its_own_colour(outcome):
    reader = read(flash_sale(proof=found(outcome)))
    badges = [a["class"] for tag, a in reader.tags if tag == "span" and "badge" in a["class"]]
    assert badges == [f"badge {outcome}", f"badge {outcome} small"]
    assert reader.text.count(outcome.upper()) == 2


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (0, "Exit code 0: all is well"),
        (1, "Exit code 1: requests failed, or tasks of the workload"),
        (3, "Exit code 3: the proof failed"),
        (4, "Exit code 4: the proof is inconclusive"),
        (5, "Exit code 5: a service-level objective was missed"),
        (2, "Exit code 2: not one of this load test's own"),
    ],
)
def test_the_exit_code_is_told_with_its_meaning(code, meaning):
    assert meaning in read(flash_sale(exit_code=code)).text


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("2026-07-25T14:03:11.5Z", "2026-07-25 14:03:11 UTC"),
        ("2026-07-25T14:03:11+02:00", "2026-07-25 14:03:11 UTC+02:00"),
        ("some time ago", "some time ago"),
    ],
)
def test_the_date_is_shown_to_the_second_or_as_it_was_written(written, shown):
    run = flash_sale()["run"] | {"started_at": written}
    assert f"{shown}4.00 s" in read(flash_sale(run=run)).text


def test_throughput_is_told_apart_by_outcome():
    text = read(flash_sale()).text
    assert "Acceptedsold, with a receipt1,000250" in text
    assert "3,000750Replayed" in text
    assert "102.50Failed" in text
    assert "4,3211,080" in text


def test_latencies_have_three_digits_or_all_of_a_thousand_and_all_comes_last():
    text = read(flash_sale()).text
    assert "NEW_ORDER_ITEM5,00021.230.4572.003.0012.350.080.01,234all5,0002" in text


def test_intended_latencies_are_left_out_of_a_closed_run():
    assert "intended" not in read(flash_sale()).text


def test_missed_arrivals_are_told_even_if_every_arrival_was_missed():
    text = read(flash_sale(missed_arrivals=1234)).text
    assert "1,234 arrivals missed" in text
    assert "There were no requests." in text


def test_objectives_are_kept_or_missed():
    slos = [
        {"slo": "p99<50ms", "measured": "12.3 ms", "kept": True},
        {"slo": "errors<0.1%", "measured": "0.5%", "kept": False},
    ]
    text = read(flash_sale(slos=slos)).text
    assert "p99<50ms12.3 ms kept" in text
    assert "errors<0.1%0.5% missed" in text
    assert "1 kept, 1 missed." in text


def test_the_proof_tells_what_was_checked_and_what_was_found():
    text = read(flash_sale(proof=found("fail", ["order 7 is gone"], 3))).text
    assert "4,010 operations checked in 1.50 s: 0 of 1 rule hold." in text
    assert "FAILno lossorder 7 is goneand 2 more" in text


def test_the_rules_that_were_broken_come_first():
    verdicts = [
        {"rule": f"rule {number}", "outcome": outcome, "found": 0, "evidence": []}
        for number, outcome in enumerate(["pass", "inconclusive", "pass", "fail"])
    ]
    text = read(flash_sale(proof=flash_sale()["proof"] | {"verdicts": verdicts})).text
    assert "FAILrule 3INCONCLUSIVErule 1PASSrule 0PASSrule 2" in text


def test_the_moment_when_the_stock_is_gone_is_marked_on_every_chart():
    reader = read(flash_sale())
    assert reader.text.count("sold out after 2.25 s") == 3
    assert paths(reader, "mark") == ["M525.2 2V212"] * 3


def test_a_stock_that_lasts_is_not_marked():
    assert "sold out" not in read(flash_sale(stock=stock([0, 1], [9, 8]))).text


def test_the_stock_falls_in_steps_from_what_there_was_at_the_start():
    run = flash_sale(stock=stock([0, 2, 3], [10, 5, 0]))
    steps = "M64.0 26.0L474.0 26.0L474.0 119.0L679.0 119.0L679.0 212.0L884.0 212.0L884.0 212.0"
    assert paths(read(run), "line hot_stock") == [steps]


def test_a_stock_that_is_gone_in_a_fraction_of_a_second_is_seen_to_fall():
    run = flash_sale()["run"] | {"seconds": 0.5}
    short = flash_sale(run=run, series=series(1), stock=stock([0, 0.1, 0.2], [100, 50, 0]))
    (line,) = paths(read(short), "line hot_stock")
    assert line.startswith("M64.0 26.0L228.0 26.0L228.0 119.0L392.0 119.0L392.0 212.0")
    assert "00.10.20.30.40.5seconds since the start" in read(short).text


def test_a_stock_that_is_gone_early_in_a_long_run_is_shown_alone():
    run = flash_sale()["run"] | {"seconds": 30.0}
    long = flash_sale(run=run, series=series(30), stock=stock([0, 0.5, 1.0], [100, 50, 0]))
    (line,) = paths(read(long), "line hot_stock")
    assert line.startswith("M64.0 26.0L392.0 26.0L392.0 119.0L720.0 119.0L720.0 212.0")
    assert "The first 1.25 s of the run." in read(long).text


def test_a_shop_that_has_nothing_from_the_start_is_drawn():
    assert "sold out after 0 s" in read(flash_sale(stock=stock([0], [0]))).text


def test_a_negative_stock_does_not_leave_the_chart():
    (line,) = paths(read(flash_sale(stock=stock([0, 1], [10, -10]))), "line hot_stock")
    assert line.endswith("L884.0 212.0")


def test_a_line_begins_again_after_a_gap_and_a_lone_value_is_a_dot():
    gaps = [None, 8, 8, None, None, 8, None]
    reader = read(flash_sale(series=series(7, p50_ms=gaps, p99_ms=[None] * 7)))
    assert paths(reader, "line p50_ms") == ["M239.7 26.0L356.9 26.0"]
    circles = [a for tag, a in reader.tags if tag == "circle"]
    assert circles == [{"class": "p50_ms", "cx": "708.3", "cy": "26.0", "r": "3.5"}]


def test_the_last_part_of_a_second_counts_as_what_it_is():
    run = flash_sale()["run"] | {"seconds": 3.5}
    (line,) = paths(
        read(flash_sale(run=run, series=series(4, accepted=[8, 8, 8, 4]))), "line accepted"
    )
    assert len({point.split()[1] for point in line[1:].split("L")}) == 1


def test_a_rate_is_not_taken_over_next_to_nothing():
    run = flash_sale()["run"] | {"seconds": 3.01}
    (line,) = paths(
        read(flash_sale(run=run, series=series(4, accepted=[8, 8, 8, 1]))), "line accepted"
    )
    assert len(line.split("L")) == 3


def test_what_there_was_none_of_is_said_and_not_drawn():
    reader = read(flash_sale(series=series(4, failed=[0, 0, 0, 0])))
    assert "failed: none" in reader.text
    assert not paths(reader, "line failed")


def test_the_values_of_a_second_are_shown_to_a_mouse():
    text = read(flash_sale(series=series(4, p50_ms=[1, 2, None, 3]))).text
    assert "2 s: p50 \N{EN DASH}, p99 2" in text


def test_a_run_of_one_second_is_drawn():
    reader = read(flash_sale(series=series(1, accepted=[7], hot_stock=[0])))
    assert [a["cx"] for tag, a in reader.tags if tag == "circle"] == ["474.0"]


def test_a_run_without_requests_is_drawn():
    text = read(nothing_asked()).text
    assert "There were no requests." in text
    assert text.count("Nothing was measured.") == 2
    assert "accepted: none" in text


def test_a_run_that_was_called_off_is_drawn():
    assert read(flash_sale(series=series(0))).text.count("Nothing was measured.") == 3


@pytest.mark.parametrize(
    ("highest", "ticks"),
    [
        (0, "01orders"),
        (3, "0123orders"),
        (0.25, "01orders"),
        (10, "0510orders"),
        (97, "0255075100orders"),
    ],
)
def test_the_numbers_at_an_axis_are_round(highest, ticks):
    zero = [0]
    run = series(1, accepted=[highest], refused=zero, replayed=zero, failed=zero)
    assert ticks in read(flash_sale(series=run)).text


@pytest.mark.parametrize("highest", [1e-9, 0.03, 1, 9.999, 10, 1e4, 123456.7, 1e12])
def test_no_value_is_above_its_chart(highest):
    reader = read(flash_sale(series=series(2, p50_ms=[0, highest], p99_ms=[highest, highest])))
    (line,) = paths(reader, "line p99_ms")
    height = float(line.split()[-1])
    assert 26 <= height < 130


def test_a_long_run_is_thinned_and_counted_in_minutes():
    reader = read(flash_sale(series=series(14_400, hot_stock=[5] * 14_400)))
    (line,) = paths(reader, "line accepted")
    assert line.count("L") + 1 == POINTS_MAX == 14_400 // 24
    assert "Each point is the worst of 24 seconds." in reader.text
    assert "0306090120150180210240minutes since the start" in reader.text


def test_numbers_that_are_none_are_drawn_as_gaps():
    broken = [float("nan"), float("inf"), 5.0, 5.0]
    assert len(paths(read(flash_sale(series=series(4, p99_ms=broken))), "line p99_ms")) == 1


@pytest.mark.parametrize(
    ("outcome", "titles"),
    [("pass", ("Throughput", "Proof")), ("fail", ("Proof", "Stock of Football"))],
)
def test_the_proof_comes_first_where_it_did_not_pass(outcome, titles):
    told = page(flash_sale(proof=found(outcome)))
    first, *_, last = re.findall(r"<h2>(.*?)</h2>", told)
    assert (first, last) == titles
