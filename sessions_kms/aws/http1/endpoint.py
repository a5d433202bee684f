"""Where requests go."""

from typing import NamedTuple


class Endpoint(NamedTuple):
    """A host, by its name or address (IPv6 without brackets), a port, and whether TLS is spoken."""

    host: str
    port: int
    tls: bool = True

    @property
    def authority(self) -> str:
        """Return what its `Host` header says: the port where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """Return its URL, for messages."""
        return f"{'https' if self.tls else 'http'}://{self.authority}/"
