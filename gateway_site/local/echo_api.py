"""An API to call through the gateway: it answers with what it was asked.

    python -m gateway_site.local.echo_api 9999

It shows that a token came, and not the token. Standard library only.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Echo(BaseHTTPRequestHandler):
    """Answers every method."""

    def respond(self) -> None:
        """Tell method, path and body, and how the caller was authorized."""
        length = int(self.headers.get("Content-Length", 0))
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        told = {
            "method": self.command,
            "path": self.path,
            "body": self.rfile.read(length).decode("utf-8", "replace"),
            "authorization": f"{scheme} and {len(token)} characters" if token else "none",
        }
        content = json.dumps(told, indent=2).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = respond  # noqa: N815 -- the names it looks for


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9999
    print(f"Listening at http://127.0.0.1:{port}/ (Ctrl-C ends it)")  # noqa: T201 -- for a person
    ThreadingHTTPServer(("127.0.0.1", port), Echo).serve_forever()
