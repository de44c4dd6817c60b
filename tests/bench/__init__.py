"""Benchmarks: what the shop reaches beside what its platform could, measured in the same run."""
