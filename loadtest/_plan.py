"""Plan: what a shape makes of `--users` and `--run-time`.

Locust lets a shape end a run, and heeds `--run-time` only when it has ended: so shapes ask here.
"""

from argparse import Namespace
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from locust import LoadTestShape

USERS = 100
RUN_S = 60.0


class Plan(NamedTuple):
    """How far a run is."""

    users: int
    """At the most."""
    seconds: float
    """That have gone by."""
    run_s: float
    """How long it takes in all."""

    @property
    def share(self) -> float:
        """How much of the time has gone by, from 0."""
        return self.seconds / self.run_s

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return self.seconds >= self.run_s


def planned(shape: "LoadTestShape") -> Plan:
    """Return how far the shape's run is. Without the options it is 100 shoppers and a minute."""
    assert shape.runner is not None  # noqa: S101 - a shape is asked only while it runs
    options = shape.runner.environment.parsed_options or Namespace(num_users=None, run_time=None)
    seconds = shape.get_run_time()  # type: ignore[no-untyped-call]  # Locust's is untyped
    return Plan(options.num_users or USERS, seconds, float(options.run_time or RUN_S))
