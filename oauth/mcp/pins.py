"""What was discovered about an MCP server at first, to notice when it changes.

A pin is a document sealed under the data key (`sessions_kms.sealed_items.documents`), for the whole
fleet. Somebody who can write the table can delete it, but cannot write another one: only the
setting of the issuer protects against that.
"""

import json
from dataclasses import asdict, dataclass

from oauth.mcp.servers import McpServer
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import TableUnavailable
from sessions_kms.sealed_items.documents import SealedDocuments
from sessions_kms.services import services

NAME = "pin/{}"


@dataclass(frozen=True, kw_only=True)
class Pin:
    """``hosts`` are those of the authorization server's endpoints."""

    issuer: str
    resource: str
    scopes: tuple[str, ...]
    hosts: tuple[str, ...]

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Pin":
        """Return the pin in a document. Raises KeyError, TypeError or ValueError."""
        members = json.loads(content)
        return cls(
            issuer=members["issuer"],
            resource=members["resource"],
            scopes=tuple(members["scopes"]),
            hosts=tuple(members["hosts"]),
        )


def load_pin(server: McpServer) -> Pin | None:
    """Return the server's pin; None if nothing is pinned. Raises StoreUnavailable."""
    found = run_sync(SealedDocuments(services()).load(NAME.format(server.name)))
    if found is None:
        return None
    try:
        return Pin.from_bytes(found.content)
    except (KeyError, TypeError, ValueError):
        raise TableUnavailable(f"The pin of {server.name} cannot be read.") from None


def add_pin(server: McpServer, pin: Pin) -> bool:
    """Store the first pin; return False if another one is stored. Raises StoreUnavailable."""
    documents = SealedDocuments(services())
    return run_sync(documents.store(NAME.format(server.name), pin.to_bytes(), expected=None))


def replace_pin(server: McpServer, pin: Pin) -> bool:
    """Store a pin in place of any other; return False if another writer was faster.

    A pin that cannot be read is replaced too. Raises StoreUnavailable.
    """
    return run_sync(_replace(NAME.format(server.name), pin.to_bytes()))


async def _replace(name: str, content: bytes) -> bool:
    documents = SealedDocuments(services())
    try:
        found = await documents.load(name)
    except TableUnavailable:
        await documents.delete(name)
        found = None
    return await documents.store(name, content, expected=None if found is None else found.version)
