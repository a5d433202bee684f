"""`python -m tests.mcp_clients`: real MCP clients against the local stack, as `make mcp-clients`.

Each signs in through a real browser and calls a tool; then eight things happen, after each of
which it goes on silently or asks for one new sign-in. Ten minutes; exits with 1 where one did not.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.stack import LocalStack
from tests.mcp_clients import report, run
from tests.mcp_clients.client import Client
from tests.mcp_clients.disturbances import DISTURBANCES, VARIABLES, World
from tests.mcp_clients.person import Person
from tests.mcp_clients.place import Place
from tests.mcp_clients.programs import PROGRAMS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mcp_clients", description=__doc__)
    names = [program.name for program in PROGRAMS]
    parser.add_argument("--client", action="append", choices=names, help="this one only")
    disturbances = [each.name for each in DISTURBANCES]
    parser.add_argument("--disturbance", action="append", choices=disturbances)
    parser.add_argument("--folder", type=Path, help="a new one, which is kept, to look into")
    options = parser.parse_args()
    with folder(options.folder) as where:
        return tried(where, options.client or names, options.disturbance or disturbances)


def tried(where: Path, names: Sequence[str], disturbances: Sequence[str]) -> int:
    """Try these clients under these disturbances; return the exit status."""
    stack = LocalStack(where / "state", **VARIABLES)
    clients = [
        program(Place(where / slug(program.name), f"{stack.url}/gateway/demo"))
        for program in PROGRAMS
        if program.name in names
    ]
    missing = {client: why for client in clients if (why := client.available())}
    present = [client for client in clients if client not in missing]
    rows: list[run.Row] = []
    with stack.running(), Person(stack) as person, closing(present):
        person.places += [client.place for client in present]
        world = World(stack, person)
        rows += told(run.signed_in(present))
        for disturbance in (each for each in DISTURBANCES if each.name in disturbances):
            rows += told(run.disturbed(world, disturbance, present))
    notes = [f"NOT DONE: {client.name}: {why}" for client, why in missing.items()]
    wrong = [row for row in rows if not row.is_right]
    unconsented = [f"No consent: {failure}" for failure in person.failures] if wrong else []
    report.show(rows, [*notes, *unconsented])
    return 1 if wrong or any(client.is_required for client in missing) else 0


def told(rows: Iterator[run.Row]) -> list[run.Row]:
    """Say each as it is seen, and return them all."""
    seen = []
    for row in rows:
        mark = "" if row.is_right else "WRONG: "
        print(f"{mark}{row.client}, {row.disturbance}: {row.seen}", flush=True)  # noqa: T201
        seen.append(row)
    return seen


@contextmanager
def closing(clients: Sequence[Client]) -> Iterator[None]:
    try:
        yield
    finally:
        for client in clients:
            client.close()


@contextmanager
def folder(chosen: Path | None) -> Iterator[Path]:
    if chosen is not None:
        chosen.mkdir(parents=True)
        yield chosen.resolve()
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def slug(name: str) -> str:
    return re.sub(r"\W+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main())
