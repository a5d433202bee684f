"""`python -m tests.mcp_clients`: real MCP clients against the local stack, as `make mcp-clients`.

Each signs in through a real browser and calls a tool; then eight things happen, after each of
which it goes on silently or asks for one new sign-in. Ten minutes; exits with 1 if one did not, or
could not be tried at all. `--without` leaves a client out that cannot run on a machine.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.stack import LocalStack
from tests.mcp_clients import conformance, report, rounds
from tests.mcp_clients.client import Client
from tests.mcp_clients.disturbances import DISTURBANCES, VARIABLES, World
from tests.mcp_clients.person import Person
from tests.mcp_clients.place import Place
from tests.mcp_clients.programs import PROGRAMS

NAMES = [*(program.name for program in PROGRAMS), conformance.NAME]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mcp_clients", description=__doc__)
    parser.add_argument("--client", action="append", choices=NAMES, help="this one only")
    parser.add_argument("--without", action="append", choices=NAMES, help="all but this one")
    disturbances = [each.name for each in DISTURBANCES]
    parser.add_argument("--disturbance", action="append", choices=disturbances)
    parser.add_argument("--folder", type=Path, help="a new one, which is kept, to look into")
    options = parser.parse_args()
    names = select_clients(options.client or (), options.without or ())
    if not names:
        parser.error("no client is left to try")
    with folder(options.folder) as where:
        trials = Trials(where, names, options.disturbance or disturbances)
        try:
            trials.run()
        finally:
            report.show(trials.rows, trials.notes)
    return 0 if trials.is_right else 1


def select_clients(only: Collection[str], without: Collection[str]) -> list[str]:
    """Return the names of what is to be tried: all of it, unless some are chosen or left out."""
    return [name for name in only or NAMES if name not in without]


class Trials:
    """These clients under these disturbances, in a new folder."""

    def __init__(self, where: Path, names: Sequence[str], disturbances: Sequence[str]) -> None:
        self.where = where
        self.stack = LocalStack(where / "state", **VARIABLES)
        self.with_conformance = conformance.NAME in names
        self.clients = [each(self.place(each.name)) for each in PROGRAMS if each.name in names]
        self.disturbances = [each for each in DISTURBANCES if each.name in disturbances]
        self.rows: list[rounds.Row] = []
        self.notes: list[str] = []
        self.is_right = True

    def place(self, name: str) -> Place:
        return Place(self.where / slug(name), f"{self.stack.url}/gateway/demo")

    def run(self) -> None:
        """Try them all; what was seen is in `rows` and `notes` then."""
        present = [client for client in self.clients if not self._is_missing(client)]
        with self.stack.running(), Person(self.stack) as person, closing(present):
            person.places += [client.place for client in present]
            if self.with_conformance:
                self._try_conformance(person)
            self._see(rounds.sign_in_all(present))
            world = World(self.stack, person)
            for disturbance in self.disturbances:
                self._see(rounds.disturb(world, disturbance, present))
        if not self.is_right:
            self.notes += [f"No consent: {failure}" for failure in person.failures]

    def _is_missing(self, client: Client) -> bool:
        why = client.available()
        if why:
            self._fail(client.name, why)
        return why is not None

    def _try_conformance(self, person: Person) -> None:
        if why := conformance.missing():
            self._fail(conformance.NAME, why)
            return
        place = self.place(conformance.NAME)
        person.places.append(place)
        wrong = conformance.wrong(conformance.output(place, self.stack))
        self.notes.append(wrong or "The conformance tool's suite for authorization servers passes.")
        self.is_right &= wrong is None

    def _fail(self, name: str, why: str) -> None:
        """Say that something could not be tried, which fails the run."""
        self.notes.append(f"MISSING: {name}: {why} To do without it: --without '{name}'")
        self.is_right = False

    def _see(self, rows: Iterator[rounds.Row]) -> None:
        """Keep each, and say it as it is seen."""
        for row in rows:
            mark = "" if row.is_right else "WRONG: "
            print(f"{mark}{row.client}, {row.disturbance}: {row.seen}", flush=True)  # noqa: T201
            self.rows.append(row)
            self.is_right &= row.is_right


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
