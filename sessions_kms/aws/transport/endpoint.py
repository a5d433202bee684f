"""Where requests go."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host, by its name or address (IPv6 without brackets), a port, and whether TLS is spoken."""

    host: str
    port: int
    tls: bool = True

    @property
    def url(self) -> str:
        """Return its URL, for messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}/"
