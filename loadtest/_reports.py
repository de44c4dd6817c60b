"""Reports: how a verdict gets into Locust's own reports, and which exit code it is worth.

Exit codes: 3 the audit found a violation; 4 it could not decide; else Locust's own, which is 1
after failed requests. Knows neither the run nor the rules.
"""

from collections.abc import Iterable

from _measured import Report

from sportshop.audit import Outcome, Verdict

EXIT_VIOLATED = 3
EXIT_INCONCLUSIVE = 4
REQUEST_TYPE = "AUDIT"


class Violated(Exception):
    """A rule that the shop broke, with the evidence."""


class Inconclusive(Exception):
    """A rule of which nobody can tell whether the shop kept it, with the reason."""


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


def exit_code(outcomes: Iterable[Outcome]) -> int | None:
    """Return the code for the worst outcome of all runs; None leaves it to Locust."""
    seen = set(outcomes)
    if Outcome.FAIL in seen:
        return EXIT_VIOLATED
    return EXIT_INCONCLUSIVE if Outcome.INCONCLUSIVE in seen else None
