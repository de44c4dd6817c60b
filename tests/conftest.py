"""What all tests share: how many examples Hypothesis tries, and that nobody imports Locust."""

import sys

import pytest
from hypothesis import settings

settings.register_profile("quick", max_examples=25)
"""`make test` asks for it; without it there are four times as many."""


def pytest_collection_finish() -> None:
    """Refuse a module that imports Locust: that patches the sockets and locks of this process."""
    if "locust" in sys.modules:
        raise pytest.UsageError("a module of tests imports Locust: start it as a process")
