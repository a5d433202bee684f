"""`manage.py discover_upstream`: what an MCP server says about its authorization, and its pin."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from oauth.exceptions import (
    IssuerNotAccepted,
    PinMismatch,
    ProviderRefused,
    ProviderUnavailable,
)
from oauth.mcp.discovery import (
    Discovered,
    accept,
    announced_assertions,
    discover,
    inspect,
)
from oauth.mcp.servers import McpServer, all_servers, find_server
from sessions_kms.hints import command
from sessions_kms.management.base import OperatorCommand, UsageError, shown, unknown


class Command(OperatorCommand):
    help = (
        "Discover the authorization server of an MCP server that people connect, and pin what is "
        "found, unless something is pinned already. Prints the variable that fixes the issuer. "
        "An issuer at another origin than the server, or another issuer or resource than the "
        "pinned one, is an error until --accept. Exit status: "
        "0 done, 1 failed or not confirmed, 2 no such MCP server."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", metavar="NAME", help="the upstream, such as notion")
        parser.add_argument(
            "--accept", action="store_true", help="pin what is found in place of what is pinned"
        )
        super().add_arguments(parser)

    def operate(self, options: dict[str, Any]) -> None:
        server = _find(options["name"])
        try:
            found = self._discover(server, ignore_pin=options["accept"])
        except PinMismatch as exc:
            how = f"Ask its operator why. Then: {_accept(server)}"
            raise CommandError(f"{exc} ({exc.code}) {how}") from exc
        except IssuerNotAccepted as exc:
            how = "Ask its operator whether it is the right one. Then set"
            how = f"{how} {exc.setting} or run: {_accept(server)}"
            raise CommandError(f"{exc} ({exc.code}) {how}") from exc
        except (ProviderRefused, ProviderUnavailable) as exc:
            raise CommandError(
                f"{exc} ({exc.code}) `{command(f'check_providers {server.name}')}` says what to do."
            ) from exc
        if options["accept"] and not self.dry_run:
            self._accept(found)
        described = _describe(found)
        self.conclude(described, "\n".join(_build_lines(found, described["id_jag"])))

    def _discover(self, server: McpServer, *, ignore_pin: bool) -> Discovered:
        if self.dry_run or ignore_pin:
            return inspect(server, ignore_pin=ignore_pin)
        return discover(server)

    def _accept(self, found: Discovered) -> None:
        self.confirm(
            f"{found.server.name}: send people to {shown(found.issuer)}, for tokens of "
            f"{shown(found.resource)}?"
        )
        if not accept(found):
            raise CommandError("Another process pinned something meanwhile. Run it again.")


def _accept(server: McpServer) -> str:
    return command(f"discover_upstream {server.name} --accept")


def _find(name: str) -> McpServer:
    server = find_server(name)
    if server is not None:
        return server
    known = sorted(each.name for each in all_servers())
    if name in settings.UPSTREAMS:
        prefix = f"UPSTREAM_{name.upper()}_"
        raise UsageError(
            f"People do not connect {name}, so there is nothing to discover. For an MCP server with"
            f" its own authorization server, set {prefix}MCP in place of {prefix}URL."
        )
    raise unknown(f"There is no MCP server {shown(name)}.", name, known, cutoff=0.0)


def _describe(found: Discovered) -> dict[str, Any]:
    is_accepted, providers = announced_assertions(found)
    return {
        "name": found.server.name,
        "issuer": found.issuer,
        "resource": found.resource,
        "metadata": found.url,
        "scopes": found.scopes,
        "hosts": found.pin.hosts,
        "new_scopes": found.new_scopes,
        "new_hosts": found.new_hosts,
        "requires_par": found.metadata.requires_pushing,
        "id_jag": {"issuer": is_accepted, "providers": providers},
        "setting": found.issuer_setting,
    }


def _build_lines(found: Discovered, id_jag: dict[str, Any]) -> list[str]:
    rows = {
        "issuer": found.issuer,
        "resource": found.resource,
        "metadata": found.url or "none",
        "scopes": " ".join(found.scopes) or "none",
        "hosts": " ".join(found.pin.hosts),
        "new scopes": " ".join(found.new_scopes),
        "new hosts": " ".join(found.new_hosts),
        "requires": "PAR" if found.metadata.requires_pushing else "",
        "ID-JAG": _describe_assertions(found, id_jag),
    }
    lines = [f"{name:<10}  {value}" for name, value in rows.items() if value]
    if found.server.issuer is None:
        lines.append(f"To fix the issuer, set {found.issuer_setting}")
    return lines


def _describe_assertions(found: Discovered, id_jag: dict[str, Any]) -> str:
    """Return who announces support; "" if nobody does and no provider is to vouch for users."""
    sides = {"issuer": id_jag["issuer"], **id_jag["providers"]}
    if not found.server.id_jag and not id_jag["issuer"]:
        return ""
    words = {True: "announces it", False: "does not announce it", None: "cannot be asked"}
    return ", ".join(f"{name} {words[each]}" for name, each in sides.items())
