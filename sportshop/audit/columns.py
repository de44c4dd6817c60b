"""Columns: sorting and looking up, as the books and the rules need it of a million numbers.

What NumPy has for this is meant for any numbers; ours are few bits long. Knows no operation.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sportshop.audit.history import Array

NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class OfLines:
    """A column of items that follows from their lines, and is looked up where it is asked for."""

    of_line: Array
    line: Array

    def __getitem__(self, rows: Any) -> Any:
        """Return what a column would: an index, a slice or an array of indices."""
        return self.of_line[self.line[rows]]


def is_in(values: Array, others: Array) -> Array:
    """Tell of each value whether it is among the others: sorting them once."""
    if not len(others):
        return np.zeros(len(values), bool)
    others = np.sort(others)
    at = np.minimum(np.searchsorted(others, values), len(others) - 1)
    return np.asarray(others[at] == values)


def order_of(numbers: Array) -> Array:
    """Return the indices that sort integers, equal ones as they come.

    Numbers that leave room for it are sorted together with their indices, which is several times
    as fast as sorting the indices.
    """
    bits = len(numbers).bit_length()
    low, high = int(numbers.min(initial=NEVER)), int(numbers.max(initial=0))
    if high - low >= 1 << (63 - bits):
        return np.argsort(numbers, kind="stable")
    both = (numbers - low << bits) + np.arange(len(numbers))
    both.sort()
    return np.asarray(both & (1 << bits) - 1)


def first_of_each(numbers: Array) -> Array:
    """Return the index of the first of each run of equal neighbours."""
    if not len(numbers):
        return np.zeros(0, np.int64)
    return np.flatnonzero(np.concatenate([[True], numbers[1:] != numbers[:-1]]))
