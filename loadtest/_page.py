"""Page: the summary of a run as one HTML file, which a browser shows without a network.

Style and charts are inside, there are no scripts, and the page's own policy forbids the browser
to load anything. Every text that comes from the run is escaped. Knows no run, only its summary.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from statistics import fmean
from typing import Any

from _chart import Line, Mark, Number, Span, chart
from _chart import number as _number
from _chart import text as _text

POINTS_MAX = 600  # of a line: a screen shows no more, and the page of a long soak stays small
SECOND_PART_MIN = 0.25  # a rate taken over less of a second would be noise
ALONE_PART_MIN = 0.1  # where there is no other to show, rather that than nothing
QUICK_PART = 0.2  # of a run: a stock that is gone sooner is shown alone
FALL_PART = 0.8  # of that chart: the fall; the rest shows that it stays so
PERCENTILES = ("p50", "p90", "p95", "p99", "p99.9", "p99.99")
EXIT_CODES = {
    0: ("pass", "all is well"),
    1: ("fail", "requests failed, or tasks of the workload"),
    3: ("fail", "the proof failed: the shop broke a rule"),
    4: ("inconclusive", "the proof is inconclusive: nobody can tell"),
    5: ("fail", "a service-level objective was missed"),
}
OUTCOMES = {
    "accepted": "sold, with a receipt",
    "refused": "not sold, such as when the stock was gone",
    "replayed": "sent again, and answered as the first time",
    "failed": "ended in an error",
    "unknown": "without an answer, and asked again with the key",
}
_LABELS = {"unknown": "Unanswered"}
SERIES = ("accepted", "refused", "replayed", "failed")
_CLASSES = frozenset({"pass", "fail", "inconclusive"})
_WORST_FIRST = {"fail": 0, "inconclusive": 1, "pass": 2}
_NAMES = {"p50_ms": "p50", "p99_ms": "p99"}
_FOLDS: Mapping[Callable[..., float], str] = {fmean: "mean", max: "worst"}


def page(summary: Mapping[str, Any]) -> str:
    """Return the page. The summary is what `check` of _slo reads, with objectives and a proof."""
    proof = _proof(summary["proof"])
    passed = summary["proof"]["outcome"] == "pass"
    sections = (
        "" if passed else proof,  # evidence comes before everything else
        _task_errors(summary.get("task_errors", ())),
        _throughput(summary["throughput"]),
        _latencies("Latency", "From sending a request to its answer.", summary["latencies_ms"]),
        _intended(summary["intended_latencies_ms"], summary["missed_arrivals"]),
        _slos(summary["slos"]),
        _charts(summary),
        proof if passed else "",
    )
    title = f"Load test of {_text(summary['run']['host'])}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style></head>\n<body><main>\n"
        f"{_header(title, summary)}\n{''.join(sections)}</main></body></html>\n"
    )


# The head: what was tested, and how it went.


def _header(title: str, summary: Mapping[str, Any]) -> str:
    run, code = summary["run"], summary["exit_code"]
    kind, meaning = EXIT_CODES.get(code, ("fail", "not one of this load test's own"))
    facts = (
        f"{_number(run['seconds'])} s",
        *([_text(f"{run['workload']} workload")] if run.get("workload") else []),
        *([f"{_number(run['rate'])} arrivals/s"] if run.get("rate") else []),
        _counted(run["users"], "user"),
        _counted(run["workers"], "worker"),
        f"hot product {_text(run['hot_product'])}",
    )
    return (
        f"<header><div><h1>{title}</h1>"
        f"<p>{_moment(run['started_at'])}</p><p>{' &middot; '.join(facts)}</p></div>"
        f'<div class="end"><p>Proof {_badge(summary["proof"]["outcome"])}</p>'
        f'<p><span class="dot {kind}"></span> Exit code {_text(code)}: {meaning}</p></div></header>'
    )


def _moment(written: str) -> str:
    """Return an RFC 3339 moment to the second, or what else was written."""
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        return _text(written)
    return _text(f"{moment:%Y-%m-%d %H:%M:%S} {moment.tzname() or ''}".strip())


def _badge(outcome: str, size: str = "") -> str:
    kind = outcome if outcome in _CLASSES else "inconclusive"
    return f'<span class="badge {kind}{size}">{_text(outcome.upper())}</span>'


# The tables.


def _throughput(throughput: Mapping[str, Mapping[str, float]]) -> str:
    shown = {outcome: throughput.get(outcome, {}) for outcome in (*OUTCOMES, "requests")}
    rows = [
        [
            f'<span class="swatch {outcome}"></span>{_LABELS.get(outcome, outcome.capitalize())}'
            f"<small>{OUTCOMES.get(outcome, 'orders and everything else')}</small>",
            _number(row.get("count")),
            _number(row.get("per_s")),
        ]
        for outcome, row in shown.items()
    ]
    table = _table(("Orders by outcome", "count", "per second"), rows, total=True)
    return _section(
        "Throughput", "Apart by outcome: a refusal costs the shop less than a sale.", table
    )


def _task_errors(errors: Sequence[Mapping[str, Any]]) -> str:
    """Return nothing where every task of the workload ended as it should."""
    if not errors:
        return ""
    rows = [[f"<code>{_text(error['error'])}</code>", _number(error["count"])] for error in errors]
    note = "Exceptions in tasks: mistakes of the workload, of which the shop was not asked."
    return _section("Errors in the workload", note, _table(("exception", "count"), rows))


def _latencies(title: str, note: str, rows: Iterable[Mapping[str, Any]]) -> str:
    keys = (*PERCENTILES, "max")
    body = [
        [
            _text(row["name"]),
            *(_number(row.get(key)) for key in ("count", "failed")),
            *(_number(row.get(key)) for key in ("mean", *keys)),
        ]
        for row in sorted(rows, key=lambda row: (row["name"] == "all", row["name"]))
    ]
    if not body:
        return _section(title, note, "<p>There were no requests.</p>")
    head = ("ms", "count", "failed", "mean", *keys)
    return _section(title, note, _table(head, body, total=body[-1][0] == "all"))


def _intended(rows: Sequence[Mapping[str, Any]], missed: int) -> str:
    """Return nothing after a closed workload, which intends no moment."""
    if not rows and not missed:
        return ""
    note = (
        "From the moment at which a request was due to its answer, so that waiting behind a slow "
        f"one counts too. {_counted(missed, 'arrival')} missed: due, and never sent."
    )
    return _latencies("Latency from the intended start", note, rows)


def _slos(slos: Sequence[Mapping[str, Any]]) -> str:
    if not slos:
        return _section("Objectives", "None were set.", "")
    missed = sum(not slo["kept"] for slo in slos)
    rows = [
        [
            f"<code>{_text(slo['slo'])}</code>",
            _text(slo["measured"]),
            f'<span class="dot {kind}"></span> {word}',
        ]
        for slo in slos
        for kind, word in [("pass", "kept") if slo["kept"] else ("fail", "missed")]
    ]
    note = f"{len(slos) - missed} kept, {missed} missed."
    return _section("Objectives", note, _table(("Objective", "measured", ""), rows))


def _table(head: Iterable[str], rows: Iterable[Iterable[str]], *, total: bool = False) -> str:
    """Return a table of cells that are HTML already.

    The first cell of a row names it. The last row of all may be the `total` of those above it.
    """
    body = "".join(
        f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for name, *cells in rows
    )
    columns = "".join(f'<th scope="col">{column}</th>' for column in head)
    kind = ' class="total"' if total else ""
    return (
        f'<div class="wide"><table{kind}><thead><tr>{columns}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _section(title: str, note: str, body: str) -> str:
    told = f"<p>{note}</p>" if note else ""
    return f"<section><h2>{title}</h2>{told}{body}</section>\n"


# The proof.


def _proof(proof: Mapping[str, Any]) -> str:
    verdicts = proof["verdicts"]
    passed = sum(verdict["outcome"] == "pass" for verdict in verdicts)
    note = (
        f"{_counted(proof['operations'], 'operation')} checked in {_number(proof['seconds'])} s: "
        f"{passed} of {_counted(len(verdicts), 'rule')} {'holds' if passed == 1 else 'hold'}."
    )
    order = sorted(verdicts, key=lambda verdict: _WORST_FIRST.get(verdict["outcome"], 0))
    rules = "".join(_rule(verdict) for verdict in order)
    return _section("Proof", note, f'<ul class="rules">{rules}</ul>' if rules else "")


def _rule(verdict: Mapping[str, Any]) -> str:
    sentences = [_text(sentence) for sentence in verdict["evidence"]]
    if verdict["found"] > len(sentences):
        sentences.append(f"and {_number(verdict['found'] - len(sentences))} more")
    evidence = "".join(f"<li>{sentence}</li>" for sentence in sentences)
    return (
        f"<li>{_badge(verdict['outcome'], ' small')}<div>{_text(verdict['rule'])}"
        f"{f'<ul>{evidence}</ul>' if evidence else ''}</div></li>"
    )


# The charts.


def _charts(summary: Mapping[str, Any]) -> str:
    run, series, stock = summary["run"], summary["series"], summary["stock"]
    buckets = _buckets(series["second"], run["seconds"])
    last_s = buckets[-1][1] if buckets else 0.0
    sold_out_s = stock["sold_out_s"]
    mark = None
    if sold_out_s is not None:
        mark = Mark(min(sold_out_s, last_s), f"sold out after {_number(float(sold_out_s))} s")
    rates = {
        name: [
            _per_second(count, begin, end, len(buckets) == 1)
            for count, (begin, end) in zip(series[name], buckets, strict=True)
        ]
        for name in SERIES
    }
    return (
        _over_time("Throughput over time", "orders per second", fmean, rates, buckets, mark)
        + _over_time(
            "Latency over time",
            "ms",
            max,
            {name: _whole(series[name], buckets) for name in ("p50_ms", "p99_ms")},
            buckets,
            mark,
        )
        + _stock(run["hot_product"], stock, last_s, mark)
    )


_Bucket = tuple[float, float]
"""Begin and end of a second of the run: the last may be a part of one."""


def _buckets(seconds: Sequence[int], run_s: float) -> list[_Bucket]:
    if not seconds:
        return []
    last = seconds[-1]
    end = run_s if last < run_s < last + 1 else last + 1
    return [*((second, second + 1) for second in seconds[:-1]), (last, end)]


def _per_second(count: float, begin: float, end: float, alone: bool) -> Number:
    part = end - begin
    return count / part if part >= (ALONE_PART_MIN if alone else SECOND_PART_MIN) else None


def _whole(values: Sequence[Number], buckets: Sequence[_Bucket]) -> Sequence[Number]:
    """Leave out the last value where it is of too short a time."""
    begin, end = buckets[-1] if buckets else (0.0, 1.0)
    too_short = len(buckets) > 1 and end - begin < SECOND_PART_MIN
    return [*values[:-1], None] if too_short else values


def _over_time(
    title: str,
    unit: str,
    fold: Callable[[list[float]], float],
    series: Mapping[str, Sequence[Number]],
    buckets: Sequence[_Bucket],
    mark: Mark | None,
) -> str:
    each = max(1, math.ceil(len(buckets) / POINTS_MAX))
    groups = [buckets[start : start + each] for start in range(0, len(buckets), each)]
    spans = [(group[0][0], group[-1][1]) for group in groups]
    middle = [(begin + end) / 2 for begin, end in spans]
    lines = [
        Line(_NAMES.get(name, name), name, middle, _thinned(values, each, fold))
        for name, values in series.items()
    ]
    tips = [
        Span(*span, f"{_number(span[0])} s: {_values(lines, at)}") for at, span in enumerate(spans)
    ]
    note = f"Each point is the {_FOLDS[fold]} of {each} seconds." if each > 1 else ""
    last_s = buckets[-1][1] if buckets else 0.0
    return _section(title, note, chart(unit, last_s, lines, tips, mark))


def _values(lines: Sequence[Line], at: int) -> str:
    return ", ".join(f"{line.name} {_number(line.values[at])}" for line in lines)


def _thinned(
    values: Sequence[Number], each: int, fold: Callable[[list[float]], float]
) -> list[Number]:
    """Return one value for `each` values, or None where none of them is known."""
    groups = (values[start : start + each] for start in range(0, len(values), each))
    known = (
        [value for value in group if value is not None and math.isfinite(value)] for group in groups
    )
    return [fold(group) if group else None for group in known]


def _stock(hot_product: str, stock: Mapping[str, Any], last_s: float, mark: Mark | None) -> str:
    """Draw the stock in steps, and the fall alone if all the rest would press it to the side."""
    note = ""
    if mark and mark.at_s < last_s * QUICK_PART:
        last_s = mark.at_s / FALL_PART or last_s
        note = f"The first {_number(float(last_s))} s of the run."
    changes = [*zip(stock["at_s"], stock["left"], strict=True)]
    changes = [change for change in changes if change[0] <= last_s]
    steps = [*changes, *((last_s, left) for _, left in changes[-1:])]
    points: list[tuple[float, Number]] = [*steps[:1]]
    for (_, before), (moment, after) in pairwise(steps):
        points += [(moment, before), (moment, after)]
    line = Line("in stock", "hot_stock", [at for at, _ in points], [left for _, left in points])
    tips = [
        Span(begin, end, f"{_number(float(begin))} s: in stock {_number(left)}")
        for (begin, left), (end, _) in pairwise(steps)
    ]
    return _section(
        f"Stock of {_text(hot_product)}", note, chart("pieces", last_s, [line], tips, mark)
    )


# Words.


def _counted(count: int, what: str) -> str:
    return f"{_number(count)} {what}{'' if count == 1 else 's'}"


_STYLE = """
:root { color-scheme: light dark; --ground: #f6f7f9; --card: #fff; --ink: #1c2433;
  --soft: #667085; --hair: #e6e8ec; --pass: #17764a; --fail: #b42330; --inconclusive: #96600a;
  --pass-ink: #17764a; --fail-ink: #b42330; --inconclusive-ink: #96600a;
  --accepted: #1f7a5c; --refused: #d48a1c; --replayed: #7a5fc0; --failed: #c8323f;
  --unknown: #8b93a3; --p50: #2b8fa3; --p99: #3b55c4; --stock: #1f7a5c; }
@media (prefers-color-scheme: dark) { :root { --ground: #12151b; --card: #1a1f28;
  --ink: #e4e8ef; --soft: #98a2b3; --hair: #2c333f; --pass: #1d8a58; --fail: #cf3b48;
  --inconclusive: #a8701a; --pass-ink: #45b88d; --fail-ink: #f47c86;
  --inconclusive-ink: #e5a545; --accepted: #45b88d; --refused: #e5a545; --replayed: #a58ee4;
  --failed: #f0626d; --p50: #4fbcd0; --p99: #8196f5; --stock: #45b88d; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 960px; margin: 0 auto; padding: 36px 20px 60px; }
header { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 16px 32px;
  margin-bottom: 24px; }
h1 { font-size: 25px; line-height: 1.25; margin: 0 0 6px; letter-spacing: -.01em;
  overflow-wrap: anywhere; }
h2 { font-size: 16px; margin: 0; }
p { margin: 0; color: var(--soft); }
header .end { margin-left: auto; text-align: right; }
header .badge { margin: 0 0 8px 8px; }
section { background: var(--card); border: 1px solid var(--hair); border-radius: 10px;
  padding: 18px 22px; margin-top: 14px; }
section > p { font-size: 13.5px; margin-bottom: 10px; }
.wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 0 6px 18px; text-align: right; white-space: nowrap;
  border-top: 1px solid var(--hair); font-weight: 400; }
th:first-child { text-align: left; padding-left: 0; }
thead th { border-top: 0; color: var(--soft); font-size: 13px; }
.total tbody tr:last-child > * { border-top: 2px solid var(--hair); font-weight: 600; }
small { color: var(--soft); font-size: 13px; font-weight: 400; margin-left: 10px; }
code { font: 13.5px ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
.badge { display: inline-block; padding: 4px 16px; border-radius: 999px; color: #fff;
  font-weight: 650; letter-spacing: .05em; }
.badge.pass, .dot.pass { background: var(--pass); }
.badge.fail, .dot.fail { background: var(--fail); }
.badge.inconclusive, .dot.inconclusive { background: var(--inconclusive); }
.badge.small { padding: 1px 0; width: 116px; flex: none; text-align: center; font-size: 11px;
  background: none; border: 1px solid; }
.small.pass { color: var(--pass-ink); } .small.fail { color: var(--fail-ink); }
.small.inconclusive { color: var(--inconclusive-ink); }
.dot { display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 3px; }
.rules, .rules ul, .legend { list-style: none; margin: 0; padding: 0; }
.rules > li { display: flex; gap: 14px; align-items: baseline; padding: 6px 0;
  border-top: 1px solid var(--hair); }
.rules > li > div { min-width: 0; overflow-wrap: anywhere; }
.rules ul li { color: var(--soft); font-size: 13.5px; padding: 2px 0; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 20px; font-size: 13.5px; color: var(--soft);
  margin-bottom: 6px; }
.swatch { display: inline-block; width: 11px; height: 11px; border-radius: 3px;
  margin-right: 8px; background: var(--kind); }
.accepted { --kind: var(--accepted); } .refused { --kind: var(--refused); }
.replayed { --kind: var(--replayed); } .failed { --kind: var(--failed); }
.unknown { --kind: var(--unknown); } .p50_ms { --kind: var(--p50); }
.p99_ms { --kind: var(--p99); } .hot_stock { --kind: var(--stock); }
svg { display: block; width: 100%; min-width: 600px; height: auto; }
svg text { fill: var(--soft); font-size: 12.5px; font-variant-numeric: tabular-nums; }
svg .end { text-anchor: end; } svg .middle { text-anchor: middle; }
.grid { stroke: var(--hair); } .mark { stroke: var(--soft); stroke-dasharray: 3 4; }
.line { fill: none; stroke: var(--kind); stroke-width: 2; stroke-linejoin: round; }
.area { fill: var(--kind); opacity: .09; } circle { fill: var(--kind); }
rect { fill: transparent; } rect:hover { fill: var(--soft); fill-opacity: .12; }
@media (max-width: 600px) { section { padding: 14px; } small { display: block; margin-left: 19px;
  white-space: normal; } .badge.small { width: 96px; font-size: 9.5px; } }
@media print { body { background: none; } section { break-inside: avoid; } }
"""
