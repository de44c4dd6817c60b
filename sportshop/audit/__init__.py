"""Audit: from what the shop told its customers, prove that some order of events explains it all.

`recorder` writes the record of a run, `history` is that record in columns, `books` is what follows
from it, and `checkers` are the rules, each a pure function to a verdict. Knows no socket, no Locust
and no store: whoever talks to a shop writes the record. Needs NumPy (the extra `loadtest`).
"""

from sportshop.audit.checkers import CHECKERS, audit
from sportshop.audit.history import BadHistory, Block, History, Kind, load, merge
from sportshop.audit.recorder import Goods, Recorder, Told, When, entry_digest
from sportshop.audit.verdict import Outcome, Verdict, worst

__all__ = [
    "CHECKERS",
    "BadHistory",
    "Block",
    "Goods",
    "History",
    "Kind",
    "Outcome",
    "Recorder",
    "Told",
    "Verdict",
    "When",
    "audit",
    "entry_digest",
    "load",
    "merge",
    "worst",
]
