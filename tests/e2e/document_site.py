"""A site of clients' documents, served by TLS and reached through a proxy (`HTTPS_PROXY`)."""

import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer

from tests.gateway_site.support.documents import HOST, DocumentSite
from tests.oauth.support import hostile
from tests.support.http_server import serve


class Proxy(ThreadingTCPServer):
    """Connects to the site, whatever host is asked for (RFC 9110 section 9.3.6)."""

    daemon_threads = True

    def __init__(self, site_port: int) -> None:
        super().__init__(("127.0.0.1", 0), Tunnel)
        self.site_port = site_port


class Tunnel(StreamRequestHandler):
    """Passes bytes on in both directions until either side closes."""

    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        assert isinstance(self.server, Proxy)
        with socket.create_connection(("127.0.0.1", self.server.site_port)) as site:
            other = {site: self.connection, self.connection: site}
            while True:
                for source in select.select(list(other), [], [])[0]:
                    if not (data := source.recv(65536)):
                        return
                    other[source].sendall(data)


@contextmanager
def document_site(folder: Path) -> Iterator[tuple[DocumentSite, dict[str, str]]]:
    """Serve the site; return it, and the variables by which a gateway reaches it."""
    site = DocumentSite()
    trusted, context = hostile.certificates(folder, HOST)
    with hostile.serving(site, context) as port, serve(Proxy(port)) as proxy:
        address = f"http://127.0.0.1:{proxy.server_address[1]}"
        yield site, {"HTTPS_PROXY": address, "SSL_CERT_FILE": str(trusted)}
