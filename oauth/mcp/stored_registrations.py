"""The registrations of this gateway for one MCP server, shared by the fleet.

They are a sealed document (`sessions_kms.sealed_items.documents`): reading it takes KMS and the
table. Older registrations stay beside the newest, because a token set stays with the registration
that made it; the oldest are dropped when there are too many. Beside them is until when nobody may
register again.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from oauth.mcp.registration import OPERATOR, Registration
from oauth.mcp.servers import McpServer
from sessions_kms import TableUnavailable
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.sealed_items.documents import CONTENT_MAX, SealedDocuments
from sessions_kms.services import Services, services

REGISTRATIONS_MAX: Final = 20  # of one server
ATTEMPTS: Final = 5  # of a write that others interfere with
PAUSE_MAX: Final = 3600  # seconds; a longer one was written by a clock that was wrong


@dataclass(frozen=True)
class Pause:
    """Until when nobody registers at an issuer with a redirect URI, in epoch seconds."""

    issuer: str
    redirect_uri: str
    until: int


@dataclass(frozen=True)
class StoredRegistrations:
    """All registrations of one server, the newest first, and the pauses."""

    registrations: tuple[Registration, ...] = ()
    pauses: tuple[Pause, ...] = ()

    def newest(self, source: str, issuer: str, redirect_uri: str) -> Registration | None:
        """Return the newest registration from a source for an issuer and a redirect URI."""
        wanted = (source, issuer, redirect_uri)
        for each in self.registrations:
            if (each.source, each.issuer, each.redirect_uri) == wanted:
                return each
        return None

    def find(self, issuer: str, client_id: str) -> Registration | None:
        """Return the registration of a client, however old."""
        for each in self.registrations:
            if (each.issuer, each.client_id) == (issuer, client_id):
                return each
        return None

    def pause_left(self, issuer: str, redirect_uri: str, now: float) -> int:
        """Return for how many more seconds nobody may register; 0 if anybody may."""
        lefts = [
            each.until - int(now)
            for each in self.pauses
            if (each.issuer, each.redirect_uri) == (issuer, redirect_uri)
        ]
        return max((left for left in lefts if 0 < left <= PAUSE_MAX), default=0)

    def adding(self, registration: Registration) -> "StoredRegistrations":
        """Return these with one more, which is the newest."""
        return replace(self, registrations=(registration, *self.registrations)[:REGISTRATIONS_MAX])

    def pausing(self, pause: Pause, now: float) -> "StoredRegistrations":
        """Return these with a pause in place of those that are over or for the same."""
        others = [
            each
            for each in self.pauses
            if 0 < each.until - now <= PAUSE_MAX
            and (each.issuer, each.redirect_uri) != (pause.issuer, pause.redirect_uri)
        ]
        return replace(self, pauses=(pause, *others)[:REGISTRATIONS_MAX])

    def to_bytes(self) -> bytes:
        """Return the content of the document; the oldest registrations are left out if need be."""
        __traceback_hide__ = True
        for content in self._contents():
            if len(content) <= CONTENT_MAX:
                return content
        raise ValueError("A registration is too large to be stored.")

    def _contents(self) -> Iterator[bytes]:
        __traceback_hide__ = True
        pauses = [[each.issuer, each.redirect_uri, each.until] for each in self.pauses]
        for kept in range(len(self.registrations), 0, -1):
            made = [each.to_json() for each in self.registrations[:kept]]
            yield json.dumps({"registrations": made, "pauses": pauses}).encode()
        yield json.dumps({"registrations": [], "pauses": pauses}).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> "StoredRegistrations":
        """Return what `to_bytes` wrote. Raises LookupError, TypeError or ValueError."""
        __traceback_hide__ = True
        data: dict[str, Any] = json.loads(content)
        return cls(
            tuple(Registration.from_json(each) for each in data["registrations"]),
            tuple(Pause(*each) for each in data["pauses"]),
        )


def document_of(name: str) -> str:
    """Return the name of the document for an MCP server."""
    return f"registrations/{name}"


def load_registrations(services: Services, name: str) -> StoredRegistrations:
    """Return the registrations for an MCP server. Raises StoreUnavailable."""
    return _load(services, name)[0]


def update_registrations(
    services: Services, name: str, change: Callable[[StoredRegistrations], StoredRegistrations]
) -> StoredRegistrations:
    """Store the result of a change, which is made again if another writer was faster.

    Raises StoreUnavailable.
    """
    __traceback_hide__ = True
    for _ in range(ATTEMPTS):
        before, version = _load(services, name)
        after = change(before)
        if after == before:
            return after
        documents = SealedDocuments(services)
        if run_sync(documents.store(document_of(name), after.to_bytes(), expected=version)):
            return after
    raise TableUnavailable("The registrations are written by too many at once.")


def _load(services: Services, name: str) -> tuple[StoredRegistrations, bytes | None]:
    __traceback_hide__ = True
    found = run_sync(SealedDocuments(services).load(document_of(name)))
    if found is None:
        return StoredRegistrations(), None
    try:
        return StoredRegistrations.from_bytes(found.content), found.version
    except (LookupError, TypeError, ValueError):
        raise TableUnavailable("The registrations cannot be read.") from None


def find_registration(server: McpServer, issuer: str, client_id: str) -> Registration | None:
    """Return the registration of a client at an issuer, however old; None if it is not known.

    A token set without one is a public client's: whether the server still accepts it is up to the
    server. Raises StoreUnavailable.
    """
    __traceback_hide__ = True
    if server.client_id == client_id and server.issuer in {None, issuer}:
        return operators_registration(server, issuer, "")
    return load_registrations(services(), server.name).find(issuer, client_id)


def operators_registration(server: McpServer, issuer: str, redirect_uri: str) -> Registration:
    """Return the registration of the client that the operator set."""
    __traceback_hide__ = True
    return Registration(
        client_id=server.client_id or "",
        client_secret=server.client_secret or "",
        issuer=issuer,
        redirect_uri=redirect_uri,
        source=OPERATOR,
        made_at=0,
    )
