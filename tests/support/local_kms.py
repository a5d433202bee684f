"""The local KMS on a free port, for one test or session."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gateway_site.local.kms.server import serve


@dataclass
class LocalKMS:
    """A running KMS: its URL, and the names of the called operations, in order."""

    url: str
    calls: list[str] = field(default_factory=list)


@contextmanager
def running_kms(state: Path | None = None) -> Iterator[LocalKMS]:
    """Serve until the block ends. `state` None keeps keys in memory only. Raises `StartError`."""
    calls: list[str] = []
    with serve(state, 0, on_call=calls.append) as url:
        yield LocalKMS(url, calls)
