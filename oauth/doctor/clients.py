"""Checks whether OAuth clients can sign in here, as far as possible without one.

Takes the configured authorization server, yields findings. The gateway's own metadata is requested
as a client does, at the URL that clients know.
"""

from collections.abc import Iterable, Iterator

from oauth.clients.rules.resources import resource_of
from oauth.clients.server import AuthorizationServer
from oauth.codes import Code
from oauth.doctor.provider import REQUEST_TIMEOUT
from oauth.exceptions import ProviderUnavailable
from oauth.network import http
from oauth.network.vetted_addresses import ANYWHERE, PUBLIC
from oauth.provider.config import ProviderConfig
from sessions_kms.doctor.finding import Finding, failing, ok, warning

METADATA = "/.well-known/oauth-authorization-server"  # RFC 8414 section 3
RESOURCE = "/.well-known/oauth-protected-resource"  # RFC 9728 section 3.1
# Documents of widely used clients: any response shows that they can be reached.
DOCUMENTS = (
    "https://claude.ai/oauth/claude-code-client-metadata",
    "https://vscode.dev/oauth/client-metadata.json",
)
NO_RESPONSE = {Code.UNREACHABLE, Code.TIMEOUT, Code.TLS, Code.ADDRESS_REFUSED}
GITHUB = "github"


def examine_clients(
    server: AuthorizationServer, providers: Iterable[ProviderConfig]
) -> Iterator[Finding]:
    """Check the authorization server; ``providers`` are all configured providers."""
    yield _check_document("issuer", server.issuer + METADATA, "issuer", server.issuer)
    for upstream in sorted(server.upstreams):
        resource = resource_of(server.issuer, upstream)
        address = server.issuer + RESOURCE + resource.removeprefix(server.issuer)
        yield _check_document(f"resource {upstream}", address, "resource", resource)
    if server.metadata_documents:
        yield _check_egress()
    yield from _github_findings(server, providers)


def _check_document(name: str, address: str, member: str, expected: str) -> Finding:
    """Fetch one of our documents and compare its identifier, as clients do."""
    try:
        response = http.get(address, reach=ANYWHERE, timeout=REQUEST_TIMEOUT)
        found = response.parse().get(member) if response.status == 200 else None
    except ProviderUnavailable as exc:
        return failing(name, f"{address} cannot be fetched from here ({exc.code})", _remedy())
    if response.status != 200:
        return failing(name, f"{address} answers with the status {response.status}", _remedy())
    if found != expected:
        return failing(
            name, f"{address} belongs to another server: its {member} is not {expected}", _remedy()
        )
    return ok(name, f"{expected} serves its metadata")


def _remedy() -> str:
    return (
        "Clients know the gateway only by PUBLIC_URL (or AUTHORIZATION_ISSUER): set it to the"
        " address that they reach, have the proxy in front pass /.well-known/, /oauth/,"
        " /token and /gateway/, and start every process with the same settings. If only this"
        " machine cannot reach it, try the address from outside."
    )


def _check_egress() -> Finding:
    """Check whether clients' metadata documents can be fetched at all."""
    name = "egress"
    if any(map(_responds, DOCUMENTS)):
        return ok(name, "clients' metadata documents can be fetched")
    hosts = ", ".join(address.split("/")[2] for address in DOCUMENTS)
    return warning(
        name,
        f"none of {hosts} responds: clients with a metadata document cannot sign in",
        "Let the gateway reach the Internet by https on port 443, switch"
        " CLIENTS_METADATA_DOCUMENTS off, or list these clients in CLIENTS_FILE. If only some"
        " hosts may be reached, and these are not among them, ignore this.",
    )


def _responds(address: str) -> bool:
    try:
        http.get(address, reach=PUBLIC, timeout=REQUEST_TIMEOUT)
    except ProviderUnavailable as exc:
        return exc.code not in NO_RESPONSE
    return True


def _github_findings(
    server: AuthorizationServer, providers: Iterable[ProviderConfig]
) -> Iterator[Finding]:
    for provider in providers:
        used = sorted(name for name, each in server.upstreams.items() if each == provider.name)
        if provider.kind == GITHUB and used:
            yield warning(
                f"tokens of {provider.name}",
                f"each grant for {', '.join(used)} takes one of the ten tokens that GitHub keeps"
                " for a person, an OAuth app and a scope: the eleventh ends the oldest",
                "Have people end the clients that they do not use, under Connected apps; a client"
                " whose token was ended there signs in once more."
                " https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps",
            )
