"""The gateway and other proxies in front of one upstream, each in a separate process."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from tests.bench import django_site
from tests.bench.peer_proxies import Missing, apache, express, signing_in
from tests.oauth.support.proof_maker import ProofKey
from tests.support.production import aws, children
from tests.support.production.environment import CLIENTS, environment

GATEWAY, FORWARDER = "gateway", "bare httpx2 forwarder"
CLIENT = "gateway, a client's token"
BOUND = "gateway, a client's bound token (DPoP)"
MCP = "gateway, a client's call of a tool"
RULES = MCP + ", with rules"
MINIMAL_DJANGO = "minimal Django proxy"
APACHE_MEMORY = "Apache, mod_auth_openidc, shared memory"
APACHE_REDIS = "Apache, mod_auth_openidc, Redis"
NODE_COOKIE = "Node, express-openid-connect, encrypted cookie"
NODE_DYNAMODB = "Node, express-openid-connect, connect-dynamodb"
CALL = (
    '{"jsonrpc":"2.0","id":1,"method":"tools/call",'
    '"params":{"name":"search","arguments":{"text":"' + "x" * 200 + '"}}}'
)
RULES_FILE = """\
[[rule]]
action = "deny"
tools = ["delete_*"]

[[rule]]
action = "allow"
groups = ["staff"]

[[rule]]
action = "allow"
clients = ["unverified"]
tools = ["list_*", "search"]
"""
KEY = str(2**255)
ISSUER = "http://127.0.0.1:9"  # never requested: the token does not expire


@dataclass(frozen=True)
class Proxy:
    """A running proxy."""

    pid: int
    port: int
    path: str
    cookie: str = ""
    token: str = ""  # a client's, in place of a cookie
    body: str = ""  # of a POST, in JSON
    key: str = ""  # to which the token is bound: the private number

    @property
    def header(self) -> str:
        """The header that authenticates a request."""
        if not self.token:
            return f"Cookie: {self.cookie}"
        return f"Authorization: {'DPoP' if self.key else 'Bearer'} {self.token}"

    def proofs(self, number: int) -> list[str]:
        """Return proofs of the key, each for one request."""
        if not self.key:
            return []
        made, url = ProofKey.loaded(self.key), f"{CLIENTS['AUTHORIZATION_ISSUER']}/{self.path}"
        return [made.proof("GET", url, self.token) for _ in range(number)]

    def url(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self.port}/{self.path}{path}"

    def cpu(self) -> float:
        """Return the CPU seconds that its processes have used."""
        parent = psutil.Process(self.pid)
        times = [process.cpu_times() for process in (parent, *parent.children(recursive=True))]
        return sum(each.user + each.system for each in times)


@dataclass(frozen=True)
class Stage:
    """An upstream, and the services that the proxies in front of it need."""

    folder: Path
    upstream: str

    @contextmanager
    def running(self, name: str) -> Iterator[Proxy]:
        """Start a proxy. Raises Missing with the name of a program that is not installed."""
        with ExitStack() as stack:
            if name in PEERS:
                yield self._peer(stack, name)
            else:
                yield self._of_ours(stack, name)

    def _of_ours(self, stack: ExitStack, name: str) -> Proxy:
        rules = self.folder / "rules.toml"
        rules.write_text(RULES_FILE, encoding="utf-8")
        arguments = {
            GATEWAY: ("tests.support.production.gateway",),
            CLIENT: ("tests.bench.client_gateway",),
            BOUND: ("tests.bench.client_gateway", "--bound", KEY),
            MCP: ("tests.bench.client_gateway",),
            RULES: ("tests.bench.client_gateway", str(rules)),
            MINIMAL_DJANGO: ("tests.bench.django_forwarder", self.upstream),
            FORWARDER: ("tests.bench.forwarder", self.upstream),
        }[name]
        process = stack.enter_context(children.python(*arguments, log=self.folder / "proxy.log"))
        found = Proxy(process.pid, **json.loads(process.said))
        is_tool = name in (MCP, RULES)
        found = replace(found, key=KEY) if name == BOUND else found
        return replace(found, path=f"{found.path}mcp", body=CALL) if is_tool else found

    def _peer(self, stack: ExitStack, name: str) -> Proxy:
        log = self.folder / "provider.log"
        provider = children.python("tests.bench.peer_proxies.openid_provider", log=log)
        issuer = f"http://127.0.0.1:{stack.enter_context(provider).said}"
        folder = self.folder / PEERS[name]
        if name in (APACHE_MEMORY, APACHE_REDIS):
            redis = None
            if name == APACHE_REDIS:
                redis = stack.enter_context(django_site.redis(self.folder))
                if redis is None:
                    raise Missing("Redis")
            pid, port = stack.enter_context(apache.running(issuer, self.upstream, redis, folder))
        else:
            store: express.Store = "cookie" if name == NODE_COOKIE else "dynamodb"
            pid, port = stack.enter_context(express.running(issuer, self.upstream, store, folder))
        return Proxy(pid, port, "", signing_in.cookie(f"http://127.0.0.1:{port}/"))


PEERS = {  # each with a folder
    APACHE_MEMORY: "apache-memory",
    APACHE_REDIS: "apache-redis",
    NODE_COOKIE: "node-cookie",
    NODE_DYNAMODB: "node-dynamodb",
}


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Start AWS's stand-ins and the upstream; direct this process's children to them."""
    with (
        aws.running("answering", folder) as found,
        children.python(
            "tests.support.production.upstream", log=folder / "upstream.log"
        ) as process,
    ):
        url = f"http://127.0.0.1:{process.said}"
        os.environ |= environment(found, folder, issuer=ISSUER, upstream=url)
        yield Stage(folder, url)
