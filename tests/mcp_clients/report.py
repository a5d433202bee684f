"""What was seen, for whoever reads it: rows enter, a table leaves."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from tests.mcp_clients.rounds import Row

WIDTH = 200


def show(rows: Sequence[Row], notes: Sequence[str]) -> None:
    """Print the table, a line a disturbance and a column a client, and what is to be said of it."""
    console = Console(width=WIDTH, highlight=False, markup=False)
    clients = list(dict.fromkeys(row.client for row in rows))
    table = Table("", *clients)
    for disturbance in dict.fromkeys(row.disturbance for row in rows):
        cells = {row.client: _cell(row) for row in rows if row.disturbance == disturbance}
        table.add_row(disturbance, *(cells.get(client, "") for client in clients))
    console.print(table)
    for note in notes:
        console.print(note)


def _cell(row: Row) -> str:
    return row.seen if row.is_right else f"WRONG: {row.seen}; expected: {row.expected}"
