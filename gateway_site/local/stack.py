"""The local stack: DynamoDB, KMS, the OpenID provider, the MCP server and the gateway.

Ports and a state folder enter; what leaves is a served gateway, until it is told to end.
"""

import importlib.util
import json
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_urlsafe
from urllib.parse import urlsplit

from gateway_site.local import aws_env, environment, mcp_clients, running_stack
from gateway_site.local.environment import Secrets
from gateway_site.local.options import LOOPBACK, Ports
from gateway_site.local.people import PEOPLE
from gateway_site.local.processes import HOST, ROOT, Child, StackError
from gateway_site.local.state import (
    StateInUseError,
    lock,
    persistent_secret,
    private_folder,
    write_private,
)
from gateway_site.local.supervisor import StopRequestedError, Supervisor

MANAGE = (sys.executable, str(ROOT / "manage.py"))
ALIAS = "alias/gateway-local"


@dataclass
class Stack:
    """What each child is, and the order of the day."""

    inherited: Mapping[str, str] = field(repr=False)
    ports: Ports
    state: Path
    roto: Path = Path(sysconfig.get_path("scripts")) / "roto-server"

    def serve(self, say: Callable[[str], object]) -> None:
        """Serve until told to end. Raises StackError when it cannot, or no longer can."""
        private_folder(self.state)
        private_folder(self.logs)
        try:
            folder_lock = lock(self.state)
        except StateInUseError:
            raise StackError(
                f"Another runlocal uses {self.state}: end it, or choose another folder "
                "with --state."
            ) from None
        if dropped := environment.not_taken(self.inherited):
            say(f"Not taken, since a local run makes its own: {', '.join(dropped)}.")
        running = self.state / "running.json"
        with folder_lock, Supervisor(running, self.logs) as supervisor:
            try:
                self._start(supervisor, say)
                say(self.welcome())
                supervisor.watch()
            except StopRequestedError:
                say("Ending.")
            finally:
                running_stack.forget(self.state)

    def _start(self, supervisor: Supervisor, say: Callable[[str], object]) -> None:
        secrets = self.secrets()
        base = environment.base(self.inherited)
        variables = environment.gateway(self.inherited, self.ports, self.state, secrets)
        outer = base | environment.passed_on(self.inherited) | variables
        services = [self.dynamodb(base), self.kms(base)]
        sites = self.sites(base, outer, secrets)

        running_stack.forget(self.state)  # a killed run leaves it behind
        say("Configuration: read.")
        endpoints = [sys.executable, "-m", "gateway_site.local.endpoints"]
        require_loopback(supervisor.run("endpoints", endpoints, outer))
        supervisor.require_ports([*services, *sites])
        say(f"AWS: {_named(services)}.")
        supervisor.start(*services)
        say(f"Table {environment.TABLE} and KMS key {ALIAS}: made where missing.")
        outer["KMS_KEY_ARN"] = self._created(supervisor, outer)
        say("SQL database: migrated.")
        supervisor.run("migrate", [*MANAGE, "migrate", "--no-input"], outer)
        if self.has_own_provider:
            supervisor.run("staff", grant_to_staff(), outer)
        self._tell(outer, base)
        say(f"Sites: {_named(sites)}.")
        supervisor.start(*sites)

    def _created(self, supervisor: Supervisor, outer: dict[str, str]) -> str:
        command = [*MANAGE, "create_session_store", "--create-key", "--alias", ALIAS, "--json"]
        return key_arn(supervisor.run("create_session_store", command, outer))

    def _tell(self, outer: Mapping[str, str], base: Mapping[str, str]) -> None:
        """Leave for other commands, and for other projects, how to reach this stack."""
        proxies = {name: base[name] for name in ("NO_PROXY", "no_proxy")}
        own = {name: value for name, value in outer.items() if name not in base}
        running_stack.tell(self.state, own | proxies)
        write_private(self.aws_file, aws_env.script(own, self.aws_file))

    def sites(self, base: dict[str, str], outer: dict[str, str], secrets: Secrets) -> list[Child]:
        """Return the gateway and, unless the caller configured others, the provider."""
        gateway = self.gateway(outer)
        if not self.has_own_provider:
            return [gateway]
        return [self.provider(base, secrets), self.mcp_server(base), gateway]

    def secrets(self) -> Secrets:
        return Secrets(
            persistent_secret(self.state / "secret-key", lambda: token_urlsafe(48)),
            persistent_secret(self.state / "client-secret", lambda: token_urlsafe(32)),
        )

    def dynamodb(self, base: dict[str, str]) -> Child:
        data = str(self.state / "dynamodb")
        address = ("--host", HOST, "--port", str(self.ports.dynamodb))
        return Child(
            name="local DynamoDB",
            command=[str(self.roto), *address, "--data-dir", data, "--durable"],
            environment=base,
            port=self.ports.dynamodb,
            option="--dynamodb-port",
            log=self.logs / "dynamodb.log",
        )

    def kms(self, base: dict[str, str]) -> Child:
        module = [sys.executable, "-m", "gateway_site.local.kms"]
        file = str(self.state / "kms.sqlite3")
        return Child(
            name="local KMS",
            command=[*module, "--port", str(self.ports.kms), "--state", file],
            environment=base,
            port=self.ports.kms,
            option="--kms-port",
            log=self.logs / "kms.log",
            health="/",
        )

    def provider(self, base: dict[str, str], secrets: Secrets) -> Child:
        module = [sys.executable, "-m", "gateway_site.local.provider"]
        folder = str(self.state / "provider")
        return Child(
            name="local OpenID provider",
            command=[*module, "--port", str(self.ports.provider), "--state", folder],
            environment=base | environment.provider(self.inherited, self.ports, secrets),
            port=self.ports.provider,
            option="--provider-port",
            log=self.logs / "provider.log",
            health="/.well-known/openid-configuration",
        )

    def mcp_server(self, base: dict[str, str]) -> Child:
        require_package("mcp")
        module = [sys.executable, "-m", "gateway_site.local.mcp_server"]
        issuer = f"http://{HOST}:{self.ports.provider}"
        asked = ["--issuer", issuer, "--userinfo", environment.USERINFO]
        return Child(
            name="local MCP server",
            command=[*module, "--port", str(self.ports.mcp), *asked],
            environment=base,
            port=self.ports.mcp,
            option="--mcp-port",
            log=self.logs / "mcp.log",
        )

    def gateway(self, outer: dict[str, str]) -> Child:
        address = f"{HOST}:{self.ports.gateway}"
        return Child(
            name="gateway",
            # --insecure serves the style sheet though DEBUG is off.
            command=[*MANAGE, "runserver", address, "--noreload", "--insecure"],
            environment=outer,
            port=self.ports.gateway,
            option="--port",
            log=self.logs / "gateway.log",
            health="/readyz",
        )

    def welcome(self) -> str:
        home = f"http://{HOST}:{self.ports.gateway}"
        ready = [f"The gateway is at {home}/"]
        if self.has_own_provider:
            ready.append(f"Sign in as {_people()}.")
            ready += [
                f"  1. Open {home}/ and sign in.",
                f"  2. Call an upstream with your token: {self._upstreams(home)}",
                f"  3. As ada, see the sessions (nobody can read inside): {home}/admin/",
                "  4. Let an MCP client in, by one of these, or as docs/mcp.md says:",
                *(f"     {line}" for line in mcp_clients.lines(f"{self._issuer}/gateway/demo")),
            ]
        ready.append(f"Logs are in {self.logs}; Ctrl-C ends everything, and loses nothing.")
        return "\n".join(ready)

    def _upstreams(self, home: str) -> str:
        """Return the addresses to try: the caller's own upstreams, else the provider itself."""
        declared = environment.upstreams(self.inherited) or ["provider"]
        return " ".join(f"{home}/try/{name}/" for name in declared)

    @property
    def _issuer(self) -> str:
        """Return the address that clients know the gateway by."""
        made = environment.clients(self.inherited, self.ports)
        named = (made | dict(self.inherited)).get("AUTHORIZATION_ISSUER")
        return named or self.inherited["PUBLIC_URL"]

    @property
    def has_own_provider(self) -> bool:
        """Whether the local provider runs: the caller configured no other."""
        return not environment.other_providers(self.inherited)

    @property
    def logs(self) -> Path:
        return self.state / "log"

    @property
    def aws_file(self) -> Path:
        return self.state / "aws.env"


def grant_to_staff() -> list[str]:
    """Return the command that makes the ready-made staff so, before they first sign in."""
    [person] = (person for person in PEOPLE if person.staff)
    account = ["--provider", "local", "--subject", str(person.subject)]
    return [*MANAGE, "staff", "grant", *account, "--superuser", "--no-input"]


def _people() -> str:
    told = (
        f"{person.username} (password {person.password}{', staff' if person.staff else ''})"
        for person in PEOPLE
    )
    return " or ".join(told)


def _named(children: Sequence[Child]) -> str:
    return ", ".join(f"{child.name} on port {child.port}" for child in children)


def require_package(name: str) -> None:
    """Raise StackError where a package is missing that a child needs."""
    if importlib.util.find_spec(name) is None:
        raise StackError(
            f"The package {name} is not installed: install requirements/local.txt, as `make run` "
            "does."
        )


def require_loopback(endpoints: str) -> None:
    """Raise StackError unless an AWS client of the children stays on this machine."""
    for service, url in json.loads(endpoints).items():
        if urlsplit(url).hostname not in LOOPBACK:
            raise StackError(
                f"An AWS client for {service} would go to {url}, not to this machine: "
                "nothing was started."
            )


def key_arn(answer: str) -> str:
    """Return the key of what `create_session_store --json` printed."""
    try:
        arn = json.loads(answer)["key_arn"]
    except (ValueError, KeyError, TypeError):
        arn = None
    if not isinstance(arn, str):
        raise StackError("create_session_store did not say which KMS key it made.")
    return arn
