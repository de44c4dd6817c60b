"""Verdicts: what a checker says of a history, with the evidence in plain words.

A rule is broken (FAIL) only by what no correct shop could have answered. Where the record does
not suffice, or somebody else may have had a hand in it, the verdict is INCONCLUSIVE and says why:
an audit that passes for want of evidence would be worth nothing.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum

import msgspec

EVIDENCE_MAX = 5  # sentences of a verdict: enough to start looking, few enough for a screen
SENTENCE_CHARACTERS_MAX = 1_000


class Outcome(StrEnum):
    """What a rule comes to."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Verdict(msgspec.Struct, frozen=True):
    """One rule's outcome."""

    rule: str
    outcome: Outcome
    evidence: tuple[str, ...] = ()
    """What convicts, or why nothing can be concluded: at most EVIDENCE_MAX sentences."""
    found: int = 0
    """How many there were in all."""

    def __str__(self) -> str:
        """Return a line for the rule and one for each piece of evidence."""
        lines = [f"{self.outcome.upper()}: {self.rule}", *(f"  {text}" for text in self.evidence)]
        if self.found > len(self.evidence):
            lines.append(f"  and {self.found - len(self.evidence)} more")
        return "\n".join(lines)


class Findings:
    """Collects faults and doubts. Counts all of them, and puts only the first into words."""

    def __init__(self) -> None:
        self._faults: list[str] = []
        self._doubts: list[str] = []
        self._fault_count = self._doubt_count = 0

    def fault(self, tell: Callable[[], str]) -> None:
        """Add what no correct shop could have answered; `tell` returns the sentence."""
        self._fault_count += 1
        if len(self._faults) < EVIDENCE_MAX:
            self._faults.append(_readable(tell()))

    def doubt(self, tell: Callable[[], str]) -> None:
        """Add why nothing can be concluded."""
        self._doubt_count += 1
        if len(self._doubts) < EVIDENCE_MAX:
            self._doubts.append(_readable(tell()))

    def verdict(self, rule: str) -> Verdict:
        """Return FAIL if there is a fault, else INCONCLUSIVE if there is a doubt, else PASS."""
        if self._faults:
            return Verdict(rule, Outcome.FAIL, tuple(self._faults), self._fault_count)
        if self._doubts:
            return Verdict(rule, Outcome.INCONCLUSIVE, tuple(self._doubts), self._doubt_count)
        return Verdict(rule, Outcome.PASS)


def _readable(text: str) -> str:
    """Return it without what a lying shop could do to a terminal, and not without end."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shown if len(shown) <= SENTENCE_CHARACTERS_MAX else shown[:SENTENCE_CHARACTERS_MAX] + "…"


def judge(rule: str, found: Findings) -> Verdict:
    """Return the verdict on a rule."""
    return found.verdict(rule)


def worst(verdicts: Iterable[Verdict]) -> Outcome:
    """Return the outcome of the whole: one FAIL outweighs any doubt. Of no verdicts, a doubt."""
    outcomes = {verdict.outcome for verdict in verdicts}
    if Outcome.FAIL in outcomes:
        return Outcome.FAIL
    if outcomes == {Outcome.PASS}:
        return Outcome.PASS
    return Outcome.INCONCLUSIVE
