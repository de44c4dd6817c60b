"""Verdicts: what a checker says of a history, with the evidence in plain words.

A rule is broken (FAIL) only by what no correct shop could have answered. Where the record does
not suffice, or somebody else may have had a hand in it, the verdict is INCONCLUSIVE and says why:
an audit that passes for want of evidence would be worth nothing.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

EVIDENCE_MAX = 5  # sentences of a verdict: enough to start looking, few enough for a screen


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


def judge(rule: str, faults: Sequence[str], doubts: Sequence[str] = ()) -> Verdict:
    """Return FAIL if there is a fault, else INCONCLUSIVE if there is a doubt, else PASS."""
    if faults:
        return Verdict(rule, Outcome.FAIL, tuple(faults[:EVIDENCE_MAX]), len(faults))
    if doubts:
        return Verdict(rule, Outcome.INCONCLUSIVE, tuple(doubts[:EVIDENCE_MAX]), len(doubts))
    return Verdict(rule, Outcome.PASS)


def worst(verdicts: Iterable[Verdict]) -> Outcome:
    """Return the outcome of the whole: one FAIL outweighs any doubt. Of no verdicts, a doubt."""
    outcomes = {verdict.outcome for verdict in verdicts}
    if Outcome.FAIL in outcomes:
        return Outcome.FAIL
    if outcomes == {Outcome.PASS}:
        return Outcome.PASS
    return Outcome.INCONCLUSIVE
