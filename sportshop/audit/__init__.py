"""Audit: from what the shop told its customers, prove that it sold nothing it did not have.

`history` is the record of a run, `checkers` are its rules, each a pure function from a record to
a verdict. Knows no socket, no Locust and no store: whoever talks to a shop writes the record.
"""

from sportshop.audit.checkers import CHECKERS, audit
from sportshop.audit.history import Asked, History, Listing, Sale
from sportshop.audit.verdict import Outcome, Verdict, worst

__all__ = [
    "CHECKERS",
    "Asked",
    "History",
    "Listing",
    "Outcome",
    "Sale",
    "Verdict",
    "audit",
    "worst",
]
