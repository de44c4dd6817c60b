"""Where a store is, as people write it: meant what they mean, or told in one line what to write.

Opens nothing and makes nothing.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

from sportshop.storage.interface import StoreError

FORMS = "memory:, csv:FOLDER or sqlite:FILE"
# As libraries write it (`?mode=ro`), and not any question mark in a name.
PARAMETERS = re.compile(r"\?\w+=")


class Place(NamedTuple):
    """Where a store is."""

    kind: str
    """`memory`, `csv` or `sqlite`."""
    path: Path
    """Of the folder or the file; of nothing for a store in memory."""


def place_of(url: str) -> Place:
    """Return what `url` means. Raises StoreError that says what to write."""
    kind, colon, place = url.strip().partition(":")
    kind, place = kind.strip().lower(), place.strip()
    if kind == "memory" and colon and not place:
        return Place(kind, Path())
    if kind not in {"csv", "sqlite"} or not place:
        raise StoreError(f"unknown store {url!r}: expected {FORMS}")
    if what := _not_a_path(kind, place):
        raise StoreError(f"store {url!r}: {what}")
    path = Path(os.path.expanduser(place))  # noqa: PTH111 - Path's raises for an unknown user
    _check_kind_of_file(kind, path)
    return Place(kind, path)


def _not_a_path(kind: str, place: str) -> str:
    """Return what to write in place of something that is no path; empty if it is one."""
    bare = re.sub(r"^(file:)?/*", "", place).partition("?")[0]
    if ":memory:" in place or "mode=memory" in place:
        return "a store in memory is written memory:"
    if "\0" in place or not _is_utf_8(place):
        return "expected a path in UTF-8, without NUL characters"
    if place.startswith("file:") or PARAMETERS.search(place):
        return f"expected a path and nothing else, such as {kind}:{bare} or {kind}:/{bare}"
    if re.match(r"//(?!//)", place):
        return f"for a path from here write {kind}:{bare}, for one from the root {kind}:/{bare}"
    if place.startswith("~") and os.path.expanduser(place) == place:  # noqa: PTH111 - the same
        return f"there is no home for {place.partition('/')[0]}: write the whole path"
    return ""


def _is_utf_8(place: str) -> bool:
    try:
        place.encode()
    except UnicodeEncodeError:  # bytes of the command line that are no UTF-8
        return False
    return True


def _check_kind_of_file(kind: str, path: Path) -> None:
    """Raise StoreError where csv: names a file: it takes a folder."""
    try:
        is_file = path.is_file()
    except OSError:
        return  # whoever opens it says why that can't be done
    if kind == "csv" and is_file:
        raise StoreError(f"store csv:{path}: File exists: csv: takes a folder, and sqlite: a file")
