"""Checks whether people can connect an MCP server, as far as possible without a person.

Takes an `McpServer` and this site's URL, yields findings. It sends the requests of discovery, and
two more to the token endpoint. Nothing is stored.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from oauth.codes import Code
from oauth.doctor.mcp_client import mcp_client_findings
from oauth.doctor.provider import connection_findings, failure_finding
from oauth.doctor.redirect_uri import PUSHED
from oauth.exceptions import (
    IssuerNotAccepted,
    PinMismatch,
    ProviderRefused,
    ProviderUnavailable,
)
from oauth.mcp.discovery import Discovered, inspect
from oauth.mcp.servers import McpServer
from sessions_kms.doctor.finding import Finding, failing, ok, warning
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.hints import command, page

ISSUER = "issuer"
PRIVATE = "If this is intended, set UPSTREAM_<NAME>_ALLOW_PRIVATE=1."
REMEDIES = {
    Code.ADDRESS_REFUSED: PRIVATE,
    Code.METADATA_ENDPOINT: PRIVATE,
    Code.RESERVED_ORIGIN: "If it is the right one, set UPSTREAM_<NAME>_ISSUER to it.",
    Code.RESOURCE_STATUS: "Correct UPSTREAM_<NAME>_MCP: it may need a path, such as /mcp. If the"
    " server has no such metadata, set UPSTREAM_<NAME>_ISSUER.",
    Code.UNREACHABLE: "Check DNS, the firewall and HTTPS_PROXY on this machine.",
}


def examine_server(
    server: McpServer, site: str | None, *, in_production: bool, clock: Callable[[], float]
) -> Iterator[Finding]:
    """Run all checks; without discovery no other check is possible.

    ``site`` is the origin of this site for browsers, None if it is not known.
    """
    try:
        found = inspect(server)
    except PinMismatch as exc:
        yield failing("pin", f"{exc} ({exc.code})", f"Ask its operator why. {_accept(server)}")
    except IssuerNotAccepted as exc:
        remedy = f"Ask its operator whether it is the right one. Then set {exc.setting}"
        yield failing(ISSUER, f"{exc} ({exc.code})", remedy)
    except StoreUnavailable as exc:
        store = f"`{command('check_session_store')}` says what is wrong with it."
        yield failing("pin", str(exc), f"{store} If nothing is: {_accept(server)}")
    except (ProviderRefused, ProviderUnavailable) as exc:
        yield failing("discovery", f"{exc} ({exc.code})", _remedy(server, exc.code))
    else:
        for finding in _findings(found, site, in_production=in_production, clock=clock):
            yield replace(finding, remedy=finding.remedy.replace("<NAME>", server.name.upper()))


def _findings(
    found: Discovered, site: str | None, *, in_production: bool, clock: Callable[[], float]
) -> Iterator[Finding]:
    yield ok("discovery", f"its authorization server is {found.issuer}")
    yield _check_resource(found)
    yield _check_issuer(found, in_production=in_production)
    yield from _check_pin(found)
    yield from _check_pushing(found)
    for name, check in (
        ("connection", partial(connection_findings, found.metadata, clock)),
        ("client", partial(mcp_client_findings, found, site, clock=clock)),
    ):
        try:
            yield from check()
        except (ProviderUnavailable, ProviderRefused) as exc:
            yield failure_finding(name, exc)


def _check_resource(found: Discovered) -> Finding:
    if found.resource == found.server.url:
        return ok("resource", "is its address")
    return warning(
        "resource",
        f"is {found.resource}, not its address, although RFC 9728 section 3.3 requires that",
        "Nothing, if one operator has all of it: its tokens are valid for everything there.",
    )


def _check_issuer(found: Discovered, *, in_production: bool) -> Finding:
    if found.server.issuer is None:
        if found.is_issuer_elsewhere:
            return warning(
                ISSUER,
                f"is at another origin than the MCP server, and only pinned: {found.issuer}",
                f"Ask its operator whether it is the right one. Then set {found.issuer_setting}",
            )
        if not in_production:
            return ok(ISSUER, "is pinned, not set")
        return warning(
            ISSUER,
            "is only pinned: somebody who can write the table could delete the pin",
            f"Set {found.issuer_setting}",
        )
    if found.is_listed or found.url is None:
        return ok(ISSUER, "is set")
    return warning(
        ISSUER,
        "is set, but the MCP server does not list it: it may reject its tokens",
        "Ask its operator which one is right.",
    )


def _check_pin(found: Discovered) -> Iterator[Finding]:
    if found.new_hosts:
        yield warning(
            "endpoints",
            f"are at hosts that were not pinned: {', '.join(found.new_hosts)}",
            f"Ask its operator why. {_accept(found.server)}",
        )
    if found.new_scopes:
        yield warning(
            "scopes",
            f"that were not pinned are requested: {' '.join(found.new_scopes)}",
            f"Set UPSTREAM_<NAME>_SCOPES, or: {_accept(found.server)}",
        )


def _check_pushing(found: Discovered) -> Iterator[Finding]:
    if not found.metadata.requires_pushing:
        return
    if found.metadata.pushing_endpoint is not None:
        yield ok(PUSHED, "is required by the authorization server, and used")
        return
    yield failing(
        PUSHED,
        f"is required by the authorization server, which has no endpoint ({Code.PAR_ENDPOINT})",
        "Ask its operator to correct the metadata.",
    )


def _accept(server: McpServer) -> str:
    accepting = command(f"discover_upstream {server.name} --accept")
    return f"`{accepting}` pins what it names now."


def _remedy(server: McpServer, code: Code) -> str:
    known = REMEDIES.get(code, f"{page('providers')} explains `{code}`.")
    return known.replace("<NAME>", server.name.upper())
