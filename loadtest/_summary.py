"""Summary: a run on one screen: latencies, throughput by outcome, objectives, the proof.

Evidence has texts of the shop that was tested, and none reaches the terminal uncleaned. Knows no
shop and no Locust run, only the figures.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from sportshop.display import clean
from sportshop.streams import discard

_log = logging.getLogger("loadtest")

EVIDENCE_MAX = 2  # sentences of a rule: several rules have to fit, the other reports have the rest
SHOWN = ("p50", "p90", "p99", "p99.9", "max")
LABELS = {"unknown": "unanswered"}
NOTES = {"unknown": ", each asked again with its key"}


def summary(figures: Mapping[str, Any]) -> str:
    """Return the screen."""
    return "\n".join(
        [
            _head(figures["run"]),
            "",
            *_latencies("latency in ms", figures["latencies_ms"]),
            *_open(figures),
            "",
            *_throughput(figures),
            *_task_errors(figures.get("task_errors", ())),
            *_objectives(figures["slos"]),
            *_proof(figures["proof"]),
        ]
    )


def _head(run: Mapping[str, Any]) -> str:
    """Return what was run, so that it can be run again."""
    facts = [
        f"{run['workload']} workload" + ("" if not run["rate"] else f" at {run['rate']:g}/s"),
        _count(run["users"], "shopper"),
        _count(run["workers"], "process", "es"),
    ]
    if run["hot_product"]:
        facts.append(f"hot product {run['hot_product']}")
    if run["shape"]:
        facts.insert(1, f"shape {run['shape']}")
    return clean(f"{run['host']}: {', '.join(facts)}")


def _count(number: int, what: str, plural: str = "s") -> str:
    return f"{number:,} {what}{'' if number == 1 else plural}"


def _latencies(title: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [f"{title:26}{'count':>11}{'failed':>9}" + "".join(f"{name:>9}" for name in SHOWN)]
    for row in rows:
        times = "".join("        -" if row[p] is None else f"{row[p]:9.4g}" for p in SHOWN)
        lines.append(f"{row['name']:26}{row['count']:11,}{row['failed']:9,}{times}")
    return lines


def _open(figures: Mapping[str, Any]) -> list[str]:
    rows = figures["intended_latencies_ms"]
    if not rows:
        return []
    lines = ["", *_latencies("from the intended start", rows)]
    missed = figures["missed_arrivals"]
    due = missed + sum(row["count"] for row in rows if row["name"] == "all")
    if missed:
        lines.append(
            f"{missed:,} of {due:,} arrivals were never begun: more shoppers or processes, or a"
            " lower --rate; their latencies are not in here"
        )
    return lines


def _throughput(figures: Mapping[str, Any]) -> list[str]:
    seconds = figures["run"]["seconds"]
    lines = []
    for name, row in figures["throughput"].items():
        if row["count"] or name in {"accepted", "refused", "requests"}:
            note = NOTES.get(name, "")
            if row.get("not_found"):
                note = f", {row['not_found']:,} of them for a product that does not exist"
            label = LABELS.get(name, name)
            rate = "" if row["per_s"] is None else f" ({row['per_s']:,.0f}/s)"
            lines.append(f"{label:10}{row['count']:11,} in {seconds:.1f} s{rate}{note}")
    return lines


def _task_errors(errors: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the workload did wrong: the shop was not asked, so it is not to blame."""
    lines = [
        f"task error{error['count']:11,} in the workload: {clean(error['error'])}"
        for error in errors[:EVIDENCE_MAX]
    ]
    more = sum(error["count"] for error in errors[EVIDENCE_MAX:])
    return [*lines, *([f"task error{more:11,} others"] if more else [])]


def _objectives(slos: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"{'kept' if slo['kept'] else 'MISSED':10}{slo['slo']}: {slo['measured']}" for slo in slos
    ]


def _proof(proof: Mapping[str, Any]) -> list[str]:
    verdicts = proof["verdicts"]
    if not proof["operations"]:
        reasons = [text for verdict in verdicts for text in verdict["evidence"]]
        return [f"audit     INCONCLUSIVE: nothing to check: {clean(text)}" for text in reasons[:1]]
    kept = sum(verdict["outcome"] == "pass" for verdict in verdicts)
    lines = [
        f"audit     {proof['outcome'].upper()}: {kept} of {len(verdicts)} rules hold for"
        f" {proof['operations']:,} operations, checked in {proof['seconds']:.1f} s"
    ]
    for verdict in verdicts:
        if verdict["outcome"] != "pass":
            lines += _evidence(verdict)
    return lines


def _evidence(verdict: Mapping[str, Any]) -> list[str]:
    shown = [f"  {clean(text)}" for text in verdict["evidence"][:EVIDENCE_MAX]]
    more = verdict["found"] - len(shown)
    if more > 0:
        shown.append(f"  and {more:,} more")
    return [f"{verdict['outcome'].upper()}: {verdict['rule']}", *shown]


def write(text: str, stream: TextIO | None) -> None:
    """Write a text, if it can be written: the stream may be closed (None), full, or unread."""
    if stream is None:
        return
    try:
        print(text.encode(stream.encoding, "replace").decode(stream.encoding), file=stream)
        stream.flush()
    except OSError as problem:
        discard(stream)
        _log.warning("the summary could not be written: %s", problem.strerror)
