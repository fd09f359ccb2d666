"""Tables of text, of which nothing is ever cut off."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

# What a column of text is left with on a narrow terminal.
_LEAST_TEXT: Final = 12
_BETWEEN: Final = 2


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, texts: Collection[str] = ()) -> None:
    """Print rows under the names of their columns.

    On a terminal only what stands in the columns `texts` is broken to fit; elsewhere a row is a line.
    """
    kept = list(rows)
    console = Console()
    table = Table(box=None, header_style="bold")
    width = 0
    for column, *cells in zip(columns, *kept, strict=True):
        widest = max(map(cell_len, (column, *cells)))
        is_text = console.is_terminal and column in texts
        least = min(widest, _LEAST_TEXT) if is_text else widest
        table.add_column(column, no_wrap=not is_text, overflow="fold", min_width=least)
        width += least + _BETWEEN
    for row in kept:
        table.add_row(*map(Text, row))
    Console(width=max(width, console.width)).print(table)
