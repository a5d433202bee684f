"""Clients' documents on a test's own site, and a gateway process that fetches them."""

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests import ROOT
from tests.gateway_site.support.client_tokens import REDIRECT_URI, authorization_url
from tests.gateway_site.support.gateways import OPTIONS, upstream_variables
from tests.oauth.support import hostile
from tests.oauth.support.hostile import HostileProvider, Response, certificates, good
from tests.support.processes import free_ports, is_listening, module, started
from tests.support.waiting import wait_until

HOST = "app.example.com"
TIMEOUT = 60.0  # seconds
UPSTREAM = "open"


class DocumentSite(HostileProvider):
    """Has a valid document at every path; those below `/slow/` are delayed until a test ends it."""

    def __init__(self) -> None:
        super().__init__()
        self.release = threading.Event()

    def respond(self, path: str, form: dict[str, str]) -> Response:
        self.asked.append(path)
        if path.startswith("/slow/"):
            self.release.wait(TIMEOUT)
        client_id = address_of(path)
        return good(
            {"client_id": client_id, "client_name": "An app", "redirect_uris": [REDIRECT_URI]}
        )


@dataclass
class DocumentGateway:
    """A running gateway, the site of its clients' documents, and one session for each person."""

    url: str
    site: DocumentSite
    keys: list[str]
    end_grants: list[Callable[[], None]] = field(default_factory=list)  # as in `Gateway`

    def authorization(self, client_id: str) -> str:
        """Return the URL of a client's authorization request."""
        return authorization_url(self.url, client_id, upstream=UPSTREAM)


def address_of(path: str) -> str:
    """Return the id of the client whose document is at a path."""
    return f"https://{HOST}{path}"


@contextmanager
def running_document_gateway(folder: Path, *, people: int) -> Iterator[DocumentGateway]:
    site = DocumentSite()
    trusted, context = certificates(folder, HOST)
    port, nobody = free_ports(2)
    url, log = f"http://127.0.0.1:{port}", folder / "gateway.log"
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "AUTHORIZATION_ISSUER": url,
        "CLIENTS_REGISTRATION": "1",
        "CLIENTS_METADATA_DOCUMENTS": "1",
        "GATEWAY_TEST_DATABASE": f"sqlite:///{folder}/gateway.sqlite3?{OPTIONS}",
        "SSL_CERT_FILE": str(trusted),
        **upstream_variables(UPSTREAM.upper(), nobody, CLIENTS="1"),
    }
    with hostile.serving(site, context) as documents, log.open("wb") as output:
        arguments = (str(port), str(documents), str(people))
        command = module("tests.gateway_site.support.document_gateway", *arguments)
        with started(command, environment, stdout=subprocess.PIPE, stderr=output) as process:
            line = process.stdout.readline() if process.stdout else ""
            assert line, log.read_text(encoding="utf-8")
            wait_until(lambda: is_listening(port), "the gateway listens")
            try:
                yield DocumentGateway(url, site, json.loads(line))
            finally:
                site.release.set()
