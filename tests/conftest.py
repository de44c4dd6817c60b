"""What all tests share: how many examples Hypothesis tries."""

from hypothesis import settings

settings.register_profile("quick", max_examples=25)
"""`make test` asks for it; without it there are four times as many."""
