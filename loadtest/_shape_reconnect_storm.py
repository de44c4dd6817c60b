"""Shape: nearly everybody is cut off and comes back, again and again.

    locust -f loadtest/,loadtest/_shape_reconnect_storm.py --workload reconnect-storm -u 500 -t 1m

`--users` is how many there are, `--run-time` how long it takes in all.
"""

from _plan import planned
from locust import LoadTestShape

SWING_S = 5.0  # from full to nearly empty, and from there to full
REMAIN = 0.1  # of the shoppers


class ReconnectStorm(LoadTestShape):
    """Swings between all of the shoppers and a tenth of them."""

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        """Return how many shoppers there shall be now, and how many more a second; None ends it."""
        plan = planned(self)
        if plan.is_over:
            return None
        swings = int(plan.seconds // SWING_S)
        users = plan.users if swings % 2 == 0 else max(1, round(plan.users * REMAIN))
        return users, plan.users
