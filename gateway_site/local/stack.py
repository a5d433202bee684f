"""The local stack: DynamoDB, KMS, the OpenID provider, two MCP servers and the gateway."""

import importlib.util
import json
import shutil
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_urlsafe
from urllib.parse import urlsplit

from gateway_site.local import environment, state
from gateway_site.local.environment import Secrets
from gateway_site.local.options import LOOPBACK, Ports
from gateway_site.local.processes import EXTRA, HOST, Child, StackError
from gateway_site.local.provider import PEOPLE
from gateway_site.local.supervisor import StopRequestedError, Supervisor
from gateway_site.rules.mcp_clients import claude_code, codex, vs_code
from sessions_kms.hints import page

# -P: modules in the current folder are not imported.
PYTHON = (sys.executable, "-P", "-m")
MANAGE = (*PYTHON, "gateway_site")
ALIAS = "alias/gateway-local"
MCP_NAME = "gateway-demo"  # the server's name in MCP clients


@dataclass
class Stack:
    """The children, and the order in which they start."""

    inherited: Mapping[str, str] = field(repr=False)
    ports: Ports
    folder: Path
    roto: Path = Path(sysconfig.get_path("scripts")) / "roto-server"

    def serve(self, say: Callable[[str], object]) -> None:
        """Serve until a signal to end. Raises StackError if it cannot start, or if a child dies."""
        self._make_folders()
        try:
            folder_lock = state.acquire_lock(self.folder)
        except state.StateInUseError:
            raise StackError(
                f"Another runlocal uses {self.folder}: stop it, or choose another folder "
                "with --state."
            ) from None
        if replaced := environment.list_replaced(self.inherited):
            say(f"Ignored, because the local stack has its own: {', '.join(replaced)}.")
        running = self.folder / "running.json"
        with folder_lock, Supervisor(running, self.logs) as supervisor:
            try:
                self._start(supervisor, say)
                say(self.welcome())
                supervisor.watch()
            except StopRequestedError:
                say("Stopping.")
            finally:
                state.withdraw_variables(self.folder)

    def _make_folders(self) -> None:
        try:
            state.make_private_folder(self.folder)
            state.make_private_folder(self.logs)
        except state.NotPrivateError as error:
            raise StackError(
                f"{error} belongs to another user: choose another folder with --state."
            ) from None
        except OSError as error:
            raise StackError(
                f"{self.folder} cannot be created ({error.strerror}): choose another folder with"
                " --state."
            ) from None

    def _start(self, supervisor: Supervisor, say: Callable[[str], object]) -> None:
        secrets = self.secrets()
        base = environment.build_base(self.inherited)
        variables = environment.build_gateway(self.inherited, self.ports, self.folder, secrets)
        if declared := environment.find_declared_here(self.inherited, variables):
            raise StackError(
                f"The local stack has an upstream of that name: unset {', '.join(declared)}, or"
                " choose another name for yours."
            )
        outer = base | environment.select_gateway_variables(self.inherited) | variables
        services = [self.dynamodb(base), self.kms(base)]
        sites = self.sites(base, outer, secrets)

        state.withdraw_variables(self.folder)  # They may be left from a killed run.
        say("Checking the configuration.")
        endpoints = [*PYTHON, "gateway_site.local.environment"]
        require_loopback(supervisor.run_step("endpoints", endpoints, outer))
        supervisor.require_ports([*services, *sites])
        say(f"Starting AWS: {_describe(services)}.")
        supervisor.start(*services)
        say(f"Creating table {environment.TABLE} and KMS key {ALIAS}, if they are missing.")
        outer["KMS_KEY_ARN"] = self._create_store(supervisor, outer)
        say("Migrating the SQL database.")
        supervisor.run_step("migrate", [*MANAGE, "migrate", "--no-input"], outer)
        if self.has_own_provider:
            supervisor.run_step("staff", build_staff_command(), outer)
        self._publish(outer, base)
        say(f"Starting the sites: {_describe(sites)}.")
        supervisor.start(*sites)

    def _create_store(self, supervisor: Supervisor, outer: dict[str, str]) -> str:
        command = [*MANAGE, "create_session_store", "--create-key", "--alias", ALIAS, "--json"]
        return parse_key_arn(supervisor.run_step("create_session_store", command, outer))

    def _publish(self, outer: Mapping[str, str], base: Mapping[str, str]) -> None:
        """Write the variables with which other commands and other projects reach this stack."""
        proxies = {name: base[name] for name in ("NO_PROXY", "no_proxy")}
        own = {name: value for name, value in outer.items() if name not in base}
        state.publish_variables(self.folder, own | proxies)
        state.write_private_file(self.aws_file, state.build_aws_script(own, self.aws_file))

    def sites(self, base: dict[str, str], outer: dict[str, str], secrets: Secrets) -> list[Child]:
        """Return the gateway and, unless the caller configured others, the provider."""
        gateway = self.gateway(outer)
        if not self.has_own_provider:
            return [gateway]
        return [self.provider(base, secrets), *self.mcp_servers(base), gateway]

    def secrets(self) -> Secrets:
        return Secrets(
            state.load_or_create_secret(self.folder / "secret-key", lambda: token_urlsafe(48)),
            state.load_or_create_secret(self.folder / "client-secret", lambda: token_urlsafe(32)),
        )

    def dynamodb(self, base: dict[str, str]) -> Child:
        data = str(self.folder / "dynamodb")
        address = ("--host", HOST, "--port", str(self.ports.dynamodb))
        command = [str(self.roto), *address, "--data-dir", data, "--durable"]
        return self._child("dynamodb", "local DynamoDB", command, base)

    def kms(self, base: dict[str, str]) -> Child:
        module = [*PYTHON, "gateway_site.local.kms"]
        file = str(self.folder / "kms.sqlite3")
        command = [*module, "--port", str(self.ports.kms), "--state", file]
        return self._child("kms", "local KMS", command, base, health="/")

    def provider(self, base: dict[str, str], secrets: Secrets) -> Child:
        module = [*PYTHON, "gateway_site.local.provider"]
        folder = str(self.folder / "provider")
        command = [*module, "--port", str(self.ports.provider), "--state", folder]
        variables = base | environment.build_provider(self.inherited, self.ports, secrets)
        health = "/.well-known/openid-configuration"
        return self._child("provider", "local OpenID provider", command, variables, health=health)

    def mcp_servers(self, base: dict[str, str]) -> list[Child]:
        if importlib.util.find_spec("mcp") is None:
            raise StackError(f"The package mcp is not installed: run `{EXTRA}`.")
        program = [*PYTHON, "gateway_site.local.mcp_servers", "--port"]
        issuer = f"http://{HOST}:{self.ports.provider}"
        demo = ["demo", "--issuer", issuer, "--userinfo", environment.USERINFO]
        notes = ["notes", "--state", str(self.folder / "notes")]
        if life := self.inherited.get(environment.LIFETIME):
            notes += ["--token-life", life]
        own_accounts = "local MCP server with its own accounts"
        return [
            self._child("mcp", "local MCP server", [*program, str(self.ports.mcp), *demo], base),
            self._child("notes", own_accounts, [*program, str(self.ports.notes), *notes], base),
        ]

    def gateway(self, outer: dict[str, str]) -> Child:
        address = f"{HOST}:{self.ports.gateway}"
        # --insecure serves the style sheet though DEBUG is off.
        command = [*MANAGE, "runserver", address, "--noreload", "--insecure"]
        return self._child("gateway", "gateway", command, outer, health="/readyz")

    def _child(
        self,
        port: str,
        name: str,
        command: list[str],
        variables: dict[str, str],
        *,
        health: str | None = None,
    ) -> Child:
        """Return the child that listens on the port of this name."""
        option = "--port" if port == "gateway" else f"--{port}-port"
        number = getattr(self.ports, port)
        return Child(name, command, variables, number, option, self.logs / f"{port}.log", health)

    def welcome(self) -> str:
        own = f"http://{HOST}:{self.ports.gateway}"
        home = self.inherited.get("PUBLIC_URL") or own
        ready = [f"The gateway runs at {own}/" + (f" for {home}/" if home != own else "")]
        if self.has_own_provider:
            ready.append(f"Sign in as {_list_accounts()}.")
            ready += [
                f"  1. Open {home}/ and sign in.",
                f"  2. Call an upstream with your token: {self._upstreams(home)}",
                f"  3. As ada, look at the list of sessions: {home}/admin/",
                f"  4. Connect an MCP client, with one of these or as {page('mcp')} says:",
                *(f"     {line}" for line in _list_mcp_clients(f"{self._issuer}/gateway/demo")),
                f"  5. Connect Notes, an MCP server with accounts of its own: {home}/",
            ]
        ready.append(f"Logs are in {self.logs}. Ctrl-C stops everything; your data is kept.")
        return "\n".join(ready)

    def _upstreams(self, home: str) -> str:
        """Return the URLs to try: the caller's upstreams, or the provider itself."""
        declared = environment.list_upstreams(self.inherited) or ["provider"]
        return " ".join(f"{home}/try/{name}/" for name in declared)

    @property
    def _issuer(self) -> str:
        """Return the gateway's URL for clients."""
        made = environment.build_clients(self.inherited, self.ports)
        named = (made | dict(self.inherited)).get("AUTHORIZATION_ISSUER")
        return named or self.inherited["PUBLIC_URL"]

    @property
    def has_own_provider(self) -> bool:
        """Whether the local provider runs: the caller configured no other."""
        return not environment.select_other_providers(self.inherited)

    @property
    def logs(self) -> Path:
        return self.folder / "log"

    @property
    def aws_file(self) -> Path:
        return self.folder / "aws.env"


def build_staff_command() -> list[str]:
    """Return the command that makes the staff account a superuser before its first sign-in."""
    [person] = (person for person in PEOPLE if person.is_staff)
    account = ["--provider", "local", "--subject", str(person.subject)]
    return [*MANAGE, "staff", "grant", *account, "--superuser", "--no-input"]


def _list_accounts() -> str:
    accounts = (
        f"{person.username} (password {person.password}{', staff' if person.is_staff else ''})"
        for person in PEOPLE
    )
    return " or ".join(accounts)


def _list_mcp_clients(url: str) -> list[str]:
    """Return one line to paste for each client: the example, Claude Code, Codex and VS Code."""
    commands = (build(MCP_NAME, url) for build in (claude_code, codex, vs_code))
    return [f"{name_python()} -m gateway_site.local.mcp_client {url}", *commands]


def name_python() -> str:
    """Return the interpreter as it is typed in this folder, such as `.venv/bin/python`."""
    if sys.executable == shutil.which("python"):
        return "python"
    path = Path(sys.executable)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _describe(children: Sequence[Child]) -> str:
    return ", ".join(f"{child.name} on port {child.port}" for child in children)


def require_loopback(endpoints: str) -> None:
    """Raise StackError unless an AWS client of the children stays on this machine."""
    for service, url in json.loads(endpoints).items():
        if urlsplit(url).hostname not in LOOPBACK:
            raise StackError(
                f"An AWS client for {service} would go to {url}, not to this machine: "
                "nothing was started."
            )


def parse_key_arn(output: str) -> str:
    """Return the key's ARN from the output of `create_session_store --json`."""
    try:
        arn = json.loads(output)["key_arn"]
    except (ValueError, KeyError, TypeError):
        arn = None
    if not isinstance(arn, str):
        raise StackError("create_session_store did not print which KMS key it created.")
    return arn
