"""Sheet: rows as a CSV file that people open in a spreadsheet. Knows no run."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet takes for the beginning of a formula: the last four are the wide = + - @."""
BREAKS = ("\t", "\r", "\n")
"""What it may take for the end of a cell, behind which another begins."""


def sheet(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    """Return the rows as a CSV file (RFC 4180) in which no text is a formula.

    `columns`: the keys of the rows that are shown, each with its title.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writerow(columns)
    writer.writerows({key: as_text(cell) for key, cell in row.items()} for row in rows)
    return text.getvalue()


def as_text(cell: Any) -> Any:
    """Return a cell that a spreadsheet shows as it is: numbers unchanged, text never a formula.

    A product's name is the shop's, and `=HYPERLINK(…)` is a name like another (OWASP, CSV
    injection). An apostrophe before it marks a text. Some spreadsheets skip blanks before it.
    """
    if isinstance(cell, str) and (cell.startswith(BREAKS) or cell.lstrip().startswith(FORMULA)):
        return f"'{cell}"
    return cell
