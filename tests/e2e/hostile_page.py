"""A page of another site, which does what it wants with its own windows."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.http_server import QuietHandler, serve_handler


@contextmanager
def hostile_page(html: str, host: str = "localhost") -> Iterator[str]:
    """Serve a page, at any path, and return its address.

    `localhost` is another site than the stack's `127.0.0.1`; another port alone is another origin.
    """
    body = f"<!doctype html><title>Evil</title><link rel=icon href=data:,>{html}".encode()

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            self.respond(200, body, "text/html")

    with serve_handler(Handler) as address:
        yield address.replace("127.0.0.1", host) + "/"
