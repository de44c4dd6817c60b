"""Reports: how a run's figures and verdicts get into files and into Locust's own reports.

Knows neither the run nor the rules.
"""

import json
import logging
from argparse import Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from _measured import Report
from _page import page
from locust.env import Environment
from locust.html import get_html_report, process_html_filename
from locust.runners import WorkerRunner
from locust.stats import bucket_response_time

from sportshop.audit import History, Outcome, Verdict

REQUEST_TYPE = "AUDIT"
_coarse = bucket_response_time
_log = logging.getLogger("loadtest")


class Violated(Exception):
    """A rule that the shop broke, with the evidence."""


class Inconclusive(Exception):
    """A rule of which nobody can tell whether the shop kept it, with the reason."""


def latency_bucket(response_time: float) -> float:
    """Round a latency in ms to two digits also below 10 ms, where Locust rounds to 1 ms.

    It is still a few hundred buckets at most, which is what Locust's own rounding is for.
    """
    if response_time < 1:
        return int(response_time * 100 + 0.5) / 100  # a third of the time that round() needs
    if response_time < 10:
        return int(response_time * 10 + 0.5) / 10
    return _coarse(response_time)


def tell_locust(report: Report, verdicts: Iterable[Verdict], now: float) -> None:
    """Report what did not pass as failed requests, so that the tables, CSV and HTML show it."""
    for verdict in verdicts:
        if verdict.outcome is Outcome.PASS:
            continue
        kind = Violated if verdict.outcome is Outcome.FAIL else Inconclusive
        report(
            request_type=REQUEST_TYPE,
            name=verdict.rule,
            start_time=now,
            response_time=0.0,
            response_length=0,
            response=verdict,
            context={},
            exception=kind(_in_a_line(verdict)),
        )


def _in_a_line(verdict: Verdict) -> str:
    """Return the first evidence: Locust's tables have little room, the summary has the rest."""
    first = verdict.evidence[0] if verdict.evidence else verdict.rule
    return first if verdict.found <= 1 else f"{first}; and {verdict.found - 1} more"


def rule_row(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as a row of the web UI."""
    return {
        "rule": verdict.rule,
        "outcome": str(verdict.outcome),
        "found": verdict.found,
        "evidence": "; ".join(verdict.evidence),
    }


def broken_rule(why: str) -> dict[str, Any]:
    """Return the one row of the web UI where there is no verdict."""
    return rule_row(Verdict("the run is audited", Outcome.INCONCLUSIVE, (why,), 1))


def write_files(options: Namespace, history: History, figures: Mapping[str, Any]) -> bool:
    """Write the files that were asked for. Tells in the log which can't be, and returns False."""
    written = True
    for flag, path, write in (
        ("--history", options.history, history.save),
        ("--report", options.report, lambda path: _write(path, page(figures))),
        ("--summary", options.summary, lambda path: _write(path, json.dumps(figures, indent=1))),
    ):
        if path:
            try:
                write(Path(path))
            except OSError as problem:
                _log.error("%s: %s: %s", flag, path, problem.strerror)
                written = False
    return written


def write_html(environment: Environment) -> None:
    """Write Locust's own report again: on Ctrl-C it comes before the audit, on SIGTERM never."""
    options = environment.parsed_options
    if options and options.html_file and not isinstance(environment.runner, WorkerRunner):
        process_html_filename(options)
        report = get_html_report(environment, show_download_link=False)  # type: ignore[no-untyped-call]
        path = Path(options.html_file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(report, encoding="utf-8")


def _write(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")
