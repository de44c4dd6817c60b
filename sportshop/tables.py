"""Tables for a person's screen, by rich. Numbers and times are never cut.

The cells are clean already. Knows nothing of shops.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

_FOLDED = "product"  # the column that gives way
_FOLDED_AT_LEAST = 8  # narrower, a name is easier to read in a line of its own
_BORDER = 3  # a line and a blank on either side


def show(columns: Mapping[str, bool], cells: Sequence[Sequence[str]]) -> None:
    """Write a table; `columns` has each heading, and whether its cells are numbers."""
    console = Console(highlight=False)
    widths = _widths(columns, cells, console.width)
    if widths is None:
        _show_one_below_the_other(columns, cells)
    else:
        console.print(_table(columns, cells, widths))


def _widths(
    columns: Mapping[str, bool], cells: Sequence[Sequence[str]], screen: int
) -> Mapping[str, int] | None:
    """Return how wide each column is to be; None: a screen so narrow would cut numbers.

    Numbers and times are never cut: where the screen is narrow it is the names that are folded.
    """
    widths = {
        heading: max(map(cell_len, [heading, *(row[number] for row in cells)]))
        for number, heading in enumerate(columns)
    }
    room = screen - sum(width for name, width in widths.items() if name != _FOLDED)
    room -= _BORDER * len(widths) + 1
    if room < min(widths[_FOLDED], _FOLDED_AT_LEAST):
        return None
    return widths | {_FOLDED: min(widths[_FOLDED], room)}


def _table(
    columns: Mapping[str, bool], cells: Sequence[Sequence[str]], widths: Mapping[str, int]
) -> Table:
    table = Table()
    for heading, is_number in columns.items():
        side: Literal["left", "right"] = "right" if is_number else "left"
        table.add_column(heading, justify=side, overflow="fold", width=widths[heading])
    for row in cells:
        table.add_row(*[Text(cell) for cell in row])  # Text: brackets in a name are no markup
    return table


def _show_one_below_the_other(columns: Mapping[str, bool], cells: Sequence[Sequence[str]]) -> None:
    for row in cells:
        for heading, cell in zip(columns, row, strict=True):
            click.echo(f"{heading}: {cell}")
        click.echo()
