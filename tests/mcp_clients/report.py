"""Prints the result of each client after each disturbance."""

from collections.abc import Sequence

from tests.mcp_clients.rounds import Row


def show(rows: Sequence[Row], notes: Sequence[str]) -> None:
    """Print each disturbance with a line a client, and what is to be said of it."""
    width = max((len(row.client) for row in rows), default=0)
    for disturbance in dict.fromkeys(row.disturbance for row in rows):
        print(f"\n{disturbance}")  # noqa: T201 - it is a program
        for row in rows:
            if row.disturbance == disturbance:
                print(f"  {row.client:<{width}}  {_cell(row)}")  # noqa: T201
    for note in notes:
        print(note)  # noqa: T201


def _cell(row: Row) -> str:
    return row.seen if row.is_right else f"WRONG: {row.seen}; expected: {row.expected}"
