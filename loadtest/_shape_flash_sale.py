"""Shape: few are there early, and when the sale opens everybody comes at once.

    locust -f loadtest/,loadtest/_shape_flash_sale.py --workload flash-sale -u 500 -t 1m

`--users` is how many come, `--run-time` how long it takes in all.
"""

from _plan import planned
from locust import LoadTestShape

OPENS_AFTER = 0.2  # of the time
EARLY = 0.1  # of the shoppers


class FlashSale(LoadTestShape):
    """A step from a tenth of the shoppers to all of them."""

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        """Return how many shoppers there shall be now, and how many more a second; None ends it."""
        plan = planned(self)
        if plan.is_over:
            return None
        if plan.share < OPENS_AFTER:
            return max(1, round(plan.users * EARLY)), plan.users
        return plan.users, plan.users
