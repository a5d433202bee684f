"""The grants of OAuth clients in the whole table, found by the metadata of their sessions.

No session is decrypted and no token is needed. A grant whose metadata could not be written, because
the table was unreachable, is not found here; it ends with its user's other sessions.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from sessions_kms.operations.listing import Inspection, Row
from sessions_kms.operations.table_scan import TableScan
from sessions_kms.sealed_items import about
from sessions_kms.services import Services


@dataclass
class ClientUse:
    """One client: its name, its id, its grants, and when one was last written."""

    name: str
    client_id: str
    grants: int = 0
    people: set[str] = field(default_factory=set)
    last_written: datetime | None = None

    def add(self, row: Row) -> None:
        """Count a grant."""
        self.grants += 1
        self.people.add(row.user_id or "")
        self.last_written = max(self.last_written or row.updated_at, row.updated_at)


class ClientGrants:
    """Scans the table for grants. All methods raise StoreUnavailable."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._inspection = Inspection(services)
        self.scanned = 0

    def scan(self) -> Iterator[Row]:
        """Yield all live grants."""
        with TableScan(self._services) as scan:
            for items in scan.pages(whole=True):
                self.scanned += len(items)
                for row in scan.each(self._inspection.read_grant, items):
                    if row is not None:
                        yield row

    def find(self, name_or_id: str) -> Iterator[Row]:
        """Yield the live grants of the clients of this name or id."""
        wanted = {name_or_id, about.short_client_id(name_or_id)}
        for row in self.scan():
            if row.words[about.CLIENT] == name_or_id or row.words.get(about.CLIENT_ID) in wanted:
                yield row

    def clients(self) -> list[ClientUse]:
        """Return the clients that have grants, those with the most grants first."""
        uses: dict[tuple[str, str], ClientUse] = {}
        for row in self.scan():
            key = row.words[about.CLIENT], row.words.get(about.CLIENT_ID, "")
            uses.setdefault(key, ClientUse(*key)).add(row)
        return sorted(uses.values(), key=lambda use: (-use.grants, use.name, use.client_id))

    def end(self, rows: Iterator[Row]) -> int:
        """End these grants; return the number of live ones."""
        return sum(self._inspection.end(row.id) for row in rows)
