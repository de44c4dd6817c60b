"""What all tests share: how many examples Hypothesis tries, and that nobody imports Locust."""

import sys

import pytest
from hypothesis import settings

settings.register_profile("quick", max_examples=15)
settings.register_profile("check", max_examples=50)
"""`make test` asks for the first, `make check` for the second; without them there are 100."""


def pytest_collection_finish() -> None:
    """Refuse a module that imports Locust: that patches the sockets and locks of this process."""
    if "locust" in sys.modules:
        raise pytest.UsageError("a module of tests imports Locust: start it as a process")
