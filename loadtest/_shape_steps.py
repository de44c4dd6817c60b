"""Shape: more shoppers step by step, to find where the shop has enough.

    locust -f loadtest/,loadtest/_shape_steps.py --workload mixed -u 500 -t 2m

`--users` is how many there are at the end, `--run-time` how long it takes in all.
"""

from _plan import planned
from locust import LoadTestShape

STEPS = 10


class Steps(LoadTestShape):
    """A tenth more of the shoppers after each tenth of the time."""

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        """Return how many shoppers there shall be now, and how many more a second; None ends it."""
        plan = planned(self)
        if plan.is_over:
            return None
        step = int(plan.share * STEPS) + 1
        return max(1, round(plan.users * step / STEPS)), plan.users
