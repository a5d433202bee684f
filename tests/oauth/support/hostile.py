"""A hostile provider, and a test's own internet, which records connections.

The server is the standard library's, with real TLS. Names and addresses are the test's: a
connection to an address without a server is recorded and refused, so that nothing leaves this
machine, and attempts to reach addresses within it are visible.
"""

import datetime
import json
import secrets
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.http_server import QuietHandler, TlsServer, serve
from tests.support.keys import to_pem

HOST = "login.hostile.example"
ADDRESS, ANOTHER_ADDRESS = "93.184.215.14", "93.184.215.15"  # globally reachable
CLIENT_ID = "gateway-client"
Response = tuple[int, bytes]
Behaviour = Callable[[dict[str, str]], Response]


class Internet:
    """Names with addresses, the servers behind the addresses, and the recorded connections."""

    def __init__(self) -> None:
        self.names: dict[str, Callable[[], list[str]]] = {}
        self.servers: dict[tuple[str, int], int] = {}  # address to a port of 127.0.0.1
        self.reached: list[tuple[str, int]] = []
        self.lookups: Counter[str] = Counter()

    def name(self, host: str, *addresses: str) -> None:
        self.names[host] = lambda: list(addresses)

    def take_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        look_up, connect = socket.getaddrinfo, socket.socket.connect

        def getaddrinfo(asked: str | bytes, port: Any, *_: Any, **__: Any) -> list[Any]:
            host = asked.decode() if isinstance(asked, bytes) else asked
            if host not in self.names:
                flags = socket.AI_NUMERICHOST  # also accepts 127.1 and 0x7f.1
                return list(look_up(host, port, type=socket.SOCK_STREAM, flags=flags))
            self.lookups[host] += 1
            return [
                row
                for address in self.names[host]()
                for row in look_up(address, port, type=socket.SOCK_STREAM)
            ]

        def connect_to(own: socket.socket, address: tuple[str, int]) -> None:
            self.reached.append(address[:2])
            if address[:2] not in self.servers:
                raise ConnectionRefusedError
            connect(own, ("127.0.0.1", self.servers[address[:2]]))

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        monkeypatch.setattr(socket.socket, "connect", connect_to)


class HostileProvider:
    """Sends the configured response for each path, and records its requests."""

    def __init__(self) -> None:
        self.issuer = f"https://{HOST}"
        self.asked: list[str] = []
        self.more_of_metadata: dict[str, Any] = {}
        self.keys: object = {"keys": []}
        self.claims: dict[str, Any] = {}
        self.nonce: str | None = None
        self.now: Callable[[], float] = lambda: 0.0
        self.paths: dict[str, Behaviour] = {
            "/.well-known/openid-configuration": lambda _: good(self.metadata()),
            "/jwks": lambda _: good(self.keys),
            "/token": lambda _: good(self.token_response()),
            "/userinfo": lambda _: good({"sub": "1001", "name": "Ada"}),
            "/revoke": lambda _: (200, b""),
        }

    def metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "jwks_uri": f"{self.issuer}/jwks",
            "revocation_endpoint": f"{self.issuer}/revoke",
            "backchannel_logout_supported": True,
        } | self.more_of_metadata

    def token_response(self) -> dict[str, Any]:
        now = int(self.now())
        claims = {"iss": self.issuer, "aud": CLIENT_ID, "sub": "1001", "iat": now, "exp": now + 300}
        claims |= {"nonce": self.nonce} | self.claims
        return {
            "access_token": secrets.token_hex(8),
            "token_type": "Bearer",
            "expires_in": 3600,
            "refresh_token": secrets.token_hex(8),
            "id_token": jwt.encode(claims, secrets.token_bytes(32), "HS256"),
        }

    def respond(self, path: str, form: dict[str, str]) -> Response:
        self.asked.append(path)
        return self.paths[path](form) if path in self.paths else (404, b"")


def good(document: object) -> Response:
    return 200, json.dumps(document).encode()


def certificates(folder: Path, *names: str) -> tuple[Path, ssl.SSLContext]:
    """Create an authority and a server certificate; return the CA file and the server's context."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    trusted, private = folder / "trusted.pem", folder / "private.pem"
    trusted.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(to_pem(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, private)
    return trusted, context


class _Handler(QuietHandler):
    provider: HostileProvider

    def do_GET(self) -> None:
        self._send(self.provider.respond(urlsplit(self.path).path, {}))

    def do_POST(self) -> None:
        form = self.read_body().decode()
        self._send(self.provider.respond(urlsplit(self.path).path, dict(parse_qsl(form))))

    def _send(self, response: Response) -> None:
        status, body = response
        self.respond(status, body, headers={"Location": body.decode()} if status == 302 else {})


@contextmanager
def serving(provider: HostileProvider, context: ssl.SSLContext) -> Iterator[int]:
    """Serve it with TLS on a port of 127.0.0.1."""
    handler = type("Handler", (_Handler,), {"provider": provider})
    with serve(TlsServer(handler, context)) as server:
        yield server.server_port


INSIDE = [
    "127.0.0.1",
    "127.0.0.1:8000",
    "127.9.9.9",
    "127.1",
    "2130706433",
    "0x7f.1",
    "0.0.0.0",  # noqa: S104 - to be refused
    "localhost",
    "10.0.0.5",
    "172.16.0.1",
    "192.168.1.1:8443",
    "100.64.0.1",
    "169.254.169.254",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[fe80::1]",
    "[fc00::1]",
    "[fec0::1]",
    "[ff02::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:a9fe:a9fe]",
    "[::127.0.0.1]",
    "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::10.0.0.5]",
    "[64:ff9b:1::7f00:1]",
    "[2001:0:7f00:1::]",
    "inside.hostile.example",
    "both.hostile.example",
]


def name_the_inside(internet: Internet) -> None:
    internet.name("localhost", "127.0.0.1", "::1")
    internet.name("inside.hostile.example", "10.0.0.5")
    internet.name("both.hostile.example", ADDRESS, "169.254.169.254")
