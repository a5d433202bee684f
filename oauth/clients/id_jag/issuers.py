"""The providers that may vouch for clients, and the upstreams that are open to their assertions."""

from collections.abc import Mapping

from oauth.clients.server import AuthorizationServer
from oauth.provider import config
from oauth.provider.config import ProviderConfig


def find_open_upstreams(server: AuthorizationServer) -> Mapping[str, str]:
    """Return the upstreams that are open to assertions, each with the provider that may assert.

    They get a token of the gateway's own, so a grant needs none of the provider.
    """
    accepted = {each.name for each in config.all_providers() if _may_assert(each)}
    return {
        upstream: provider
        for upstream, provider in server.upstreams.items()
        if upstream in server.identity_upstreams and provider in accepted
    }


def find_issuers(server: AuthorizationServer) -> Mapping[str, ProviderConfig]:
    """Return the providers whose assertions are accepted, by their issuers."""
    names = set(find_open_upstreams(server).values())
    found = {each.issuer: each for each in config.all_providers() if each.name in names}
    return {issuer: each for issuer, each in found.items() if issuer is not None}


def is_still_accepted(
    server: AuthorizationServer, client_id: str, upstream: str, *, is_authenticated: bool
) -> bool:
    """Return True if a grant that came with an assertion could come with one now.

    ``is_authenticated`` says whether the client proved who it is when it came. Its upstream may
    have another provider by now: then it has no account there.
    """
    may_come = client_id in server.listed or is_authenticated
    return (
        may_come
        and server.may_use_assertions(client_id)
        and upstream in find_open_upstreams(server)
    )


def _may_assert(provider: ProviderConfig) -> bool:
    return provider.id_jag_clients and provider.issuer is not None
