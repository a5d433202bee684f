"""`manage.py check_providers`: check whether people can sign in, without a person."""

import re
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.conf import settings

from oauth import doctor
from oauth.mcp.servers import McpServer, all_servers
from oauth.provider import config
from oauth.provider.config import ProviderConfig
from sessions_kms.doctor.finding import Finding, Level, worst
from sessions_kms.hints import page
from sessions_kms.management.base import (
    MARKS,
    OF_FINDINGS,
    OperatorCommand,
    UsageError,
    exit_status,
    shown,
    unknown,
)
from sessions_kms.services import services

ORIGIN = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+")


class Command(OperatorCommand):
    help = (
        "Check whether people can sign in, as far as that is possible without a person. "
        "Fetches each provider's metadata and keys, checks TLS and the clock, tries the "
        "client's credentials with an invalid code and the redirect URI, pushes a request "
        "if the provider requires it, and checks what its sign-outs need. Discovers each MCP "
        "server that people connect, and compares it with its pin. If OAuth clients may sign in, "
        "it also checks what they need. Each finding says what to do; "
        f"{page('providers')} has more. Exit status: 0 nothing is failing, 1 something is "
        "failing, 2 the provider is not configured, 4 there are warnings (with --strict)."
    )
    requires_system_checks = ()  # An unusable private key is a finding.
    changes = False
    silenced = OF_FINDINGS

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", nargs="?", metavar="NAME", help="only this provider")
        parser.add_argument(
            "--url",
            metavar="ORIGIN",
            help="address of this site, such as https://gateway.example.com",
        )
        parser.add_argument("--strict", action="store_true", help="exit 4 when there are warnings")

    def operate(self, options: dict[str, Any]) -> None:
        site = _find_site(options["url"])
        found: dict[str, list[Finding]] = {}
        chosen = _select(options["name"])
        with self.progress("Checking", total=len(chosen)) as advance:
            for each in chosen:
                found[each.name] = list(_examine(each, site))
                advance()
        clients = _check_clients() if options["name"] is None else []
        level = worst(each for group in [*found.values(), clients] for each in group)
        self.conclude(
            {
                "ok": level is not Level.FAILING,
                "status": level,
                "providers": {
                    name: [asdict(each) for each in findings] for name, findings in found.items()
                },
                "clients": [asdict(each) for each in clients],
            },
            "\n".join(_build_lines(found | ({"OAuth clients": clients} if clients else {})))
            or "No provider is configured.",
            status=exit_status(level, strict=options["strict"]),
        )


def _select(name: str | None) -> list[ProviderConfig | McpServer]:
    checkable: list[ProviderConfig | McpServer] = [*config.all_providers(), *all_servers()]
    known = {each.name: each for each in checkable}
    if name is None:
        return list(known.values())
    if name not in known:
        raise unknown(f"There is no provider {shown(name)}.", name, sorted(known), cutoff=0.0)
    return [known[name]]


def _examine(each: ProviderConfig | McpServer, site: str | None) -> Iterator[Finding]:
    clock = services().clock
    if isinstance(each, McpServer):
        return doctor.examine_server(
            each, site, in_production=not settings.GATEWAY_LOCAL, clock=clock
        )
    return doctor.examine(each, site, clock=clock)


def _check_clients() -> list[Finding]:
    """Check what OAuth clients need, if they may sign in."""
    server = getattr(settings, "AUTHORIZATION_SERVER", None)
    return [] if server is None else list(doctor.examine_clients(server, config.all_providers()))


def _find_site(given: str | None) -> str | None:
    """Return this site's origin: the given one, the configured one, or the only allowed host's."""
    origin = given or getattr(settings, "PUBLIC_URL", None)
    if origin:
        if not ORIGIN.fullmatch(origin.rstrip("/")):
            raise UsageError("--url must be an origin, such as https://gateway.example.com.")
        return str(origin).rstrip("/")
    plain = [host for host in settings.ALLOWED_HOSTS if not host.startswith((".", "*"))]
    return f"https://{plain[0]}" if len(plain) == 1 else None


def _build_lines(found: dict[str, list[Finding]]) -> Iterator[str]:
    for name, findings in found.items():
        yield name
        for finding in findings:
            yield f"  {MARKS[finding.level]:<4} {finding.name}: {finding.detail}"
            if finding.remedy:
                yield f"       {finding.remedy}"
