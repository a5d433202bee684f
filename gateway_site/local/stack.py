"""The local stack: DynamoDB, KMS, the OpenID provider and the gateway, in this order.

Ports and a state folder enter; what leaves is a served gateway, until it is told to end.
"""

import json
import secrets as random
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from gateway_site.local import environment
from gateway_site.local.environment import Ports, Secrets
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
        with folder_lock, Supervisor(self.state / "running.json", self.logs) as supervisor:
            try:
                self._start(supervisor)
                say(self.welcome())
                supervisor.watch()
            except StopRequestedError:
                say("Ending.")

    def _start(self, supervisor: Supervisor) -> None:
        secrets = self.secrets()
        base = environment.base(self.inherited)
        variables = environment.gateway(self.inherited, self.ports, self.state, secrets)
        outer = base | environment.passed_on(self.inherited) | variables

        services = [self.dynamodb(base), self.kms(base)]
        sites = [self.gateway(outer)]
        if not environment.other_providers(self.inherited):
            sites.insert(0, self.provider(base, secrets))

        require_loopback(
            supervisor.run(
                "endpoints", [sys.executable, "-m", "gateway_site.local.endpoints"], outer
            )
        )
        supervisor.require_ports([*services, *sites])
        supervisor.start(*services)
        variables["KMS_KEY_ARN"] = outer["KMS_KEY_ARN"] = key_arn(
            supervisor.run(
                "create_session_store",
                [*MANAGE, "create_session_store", "--create-key", "--alias", ALIAS, "--json"],
                outer,
            )
        )
        supervisor.run("migrate", [*MANAGE, "migrate", "--no-input"], outer)
        proxies = {name: base[name] for name in ("NO_PROXY", "no_proxy")}
        write_private(self.env_file, environment.shell_script(variables | proxies, self.env_file))
        supervisor.start(*sites)

    def secrets(self) -> Secrets:
        return Secrets(
            persistent_secret(self.state / "secret-key", lambda: random.token_urlsafe(48)),
            persistent_secret(self.state / "client-secret", lambda: random.token_urlsafe(32)),
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
        lines = [f"The gateway is at http://{HOST}:{self.ports.gateway}/"]
        if not environment.other_providers(self.inherited):
            people = " or ".join(f"{p.username} (password {p.password})" for p in PEOPLE)
            lines.append(f"Sign in as {people}.")
        lines.append(f"Logs are in {self.logs}; Ctrl-C ends everything, and loses nothing.")
        return "\n".join(lines)

    @property
    def logs(self) -> Path:
        return self.state / "log"

    @property
    def env_file(self) -> Path:
        return self.state / "env"


def require_loopback(endpoints: str) -> None:
    """Raise StackError unless an AWS client of the children stays on this machine."""
    for service, url in json.loads(endpoints).items():
        if urlsplit(url).hostname not in environment.LOOPBACK:
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
