"""Tokens for upstreams: the only place where the gateway asks for one. Failures become problems.

An MCP server that is not connected, or demands more scopes, is a problem with `connect_url`. A
person who opened its address as a page is sent to that page, and comes back afterwards.
"""

import re
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Any, TypeAlias, TypeVar, cast
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from gateway_site.edge.access_log import current_entry
from gateway_site.environment.clients import GATEWAY
from gateway_site.forwarding.calls.caller import CHALLENGE, grant_challenge
from gateway_site.forwarding.calls.upstream_call import UpstreamCall
from gateway_site.forwarding.thread_pools import BUSY
from gateway_site.identity import token as identity_token
from gateway_site.mcp.errors import RPCProblem
from gateway_site.rules import origin
from gateway_site.rules.headers import Headers, joined_values
from gateway_site.rules.identity_tokens import GROUPS, IdentityToken
from gateway_site.rules.opened_address import continue_url
from gateway_site.rules.problems import Problem, forbidden, session_full, unavailable
from oauth import (
    AssertedAccount,
    AssertionRefused,
    NotConnected,
    ProviderUnavailable,
    ReauthenticationRequired,
    SessionFull,
    TokenSet,
    aget_account,
    aget_token,
    groups_of,
)
from oauth.access_rule import EMAIL, NAME
from oauth.connect.wanted_scopes import demand_scopes
from oauth.mcp.challenge import bearer_parameters
from oauth.mcp.servers import McpServer, find_server
from oauth.provider import dpop
from sessions_kms import SessionStore, StoreUnavailable
from sessions_kms.services import services

# Without the provider's tokens a grant is useless. Some clients ask for a new one only when their
# refresh token is rejected as well.
GRANT_ENDING_CODES = frozenset({"not_connected", "reauthentication_required"})
INSUFFICIENT_SCOPE = "insufficient_scope"  # RFC 6750 section 3.1
# Of a problem, and of a JSON-RPC error.
MORE_SCOPE, MORE_SCOPE_RPC = "more_scope", -32013
NOT_VOUCHED, NOT_VOUCHED_RPC = "not_vouched", -32015
# RFC 6749 appendix A.12, without the space. RFC 6750 section 2.1 allows fewer characters, but there
# are authorization servers whose tokens have others, such as colons.
SENDABLE = re.compile(r"[!-~]+")

# A token, or only the account of a grant that came with an assertion.
Credential: TypeAlias = TokenSet | AssertedAccount
T = TypeVar("T")


async def fetch_token(
    call: UpstreamCall, refused: TokenSet | None = None
) -> tuple[Credential, tuple[str, ...]]:
    """Return the person's token and groups, if these may call the upstream. Raises Problem.

    `refused` is a token that the upstream answered 401 to. Where the upstream gets the gateway's
    own token, this is only whose account it names.
    """
    provider = call.upstream.provider
    token: Credential
    if call.upstream.identity is not None:
        token = await _fetch(aget_account(call.request, provider), provider)
        groups = token.groups
    else:
        token = found = await fetch_access_token(call.request, provider, refused=refused)
        is_mcp = call.upstream.mcp
        groups = groups_of(call.caller.session, provider, found) if is_mcp else found.groups
    if not call.upstream.allows(groups):
        raise forbidden(provider)
    return token, groups


async def fetch_access_token(
    request: HttpRequest, provider: str, refused: TokenSet | None = None
) -> TokenSet:
    """Return a valid bearer token, or one that is bound to a key that is stored with it.

    `refused` is a token that an upstream answered 401 to. Raises Problem.
    """
    token = await _fetch(aget_token(request, provider, refused), provider)
    if not _is_usable(token):
        raise Problem(
            502, "unusable_token", "The provider's token is of a type that cannot be sent."
        )
    return token


async def _fetch(fetching: Awaitable[T], provider: str) -> T:
    """Return what is fetched. Raises Problem."""
    try:
        return await fetching
    except NotConnected:
        raise _sign_in_problem(
            provider, "not_connected", "This account is not connected."
        ) from None
    except AssertionRefused:
        raise _sign_in_problem(
            provider, NOT_VOUCHED, "The organization's provider does not connect this server now."
        ) from None
    except ReauthenticationRequired:
        raise _sign_in_problem(
            provider, "reauthentication_required", "The provider requires a new sign-in."
        ) from None
    except SessionFull as error:
        raise session_full(error.connection) from None
    except ProviderUnavailable as error:
        if error.code == "busy":  # It is this process that has no descriptor, for example.
            raise unavailable("busy", BUSY) from None
        if (entry := current_entry()) is not None:
            entry.upstream_status = HTTPStatus.BAD_GATEWAY
        raise unavailable(
            "provider_unavailable", "The provider cannot be reached at the moment."
        ) from None
    except StoreUnavailable:
        raise unavailable(
            "store_unavailable", "The session store cannot be used at the moment."
        ) from None


def authorization_headers(call: UpstreamCall, token: Credential, nonce: str | None) -> Headers:
    """Return the headers that present a token, with a proof of possession if it is bound to a key.

    `nonce` is what the upstream demanded in the proof. Where the upstream gets the gateway's own
    token, `token` only says whose account it is, and each request has a new one.
    """
    __traceback_hide__ = True
    if call.upstream.identity is not None:
        return [_bearer(_make_identity_token(call, call.upstream.identity, token))]
    if not isinstance(token, TokenSet):
        raise ImproperlyConfigured("An account without a token is for identity tokens only.")
    if token.dpop_key is None:
        return [_bearer(token.access_token)]
    now, method, url = services().clock(), call.method, call.target
    shown = dpop.headers(token.dpop_key, token.access_token, method, url, now=now, nonce=nonce)
    return [(name.lower().encode(), value.encode("ascii")) for name, value in shown.items()]


def _bearer(token: str) -> tuple[bytes, bytes]:
    return b"authorization", b"Bearer " + token.encode("ascii")


def _make_identity_token(call: UpstreamCall, wanted: IdentityToken, token: Credential) -> str:
    """Return a token of the gateway's own that says who calls; unknown claims are left out."""
    __traceback_hide__ = True
    found: dict[str, Any] = {
        EMAIL: token.email,
        NAME: token.name,
        GROUPS: list(token.groups),
    }
    claims = {name: found[name] for name in sorted(wanted.claims) if found[name]}
    if EMAIL in claims:
        claims["email_verified"] = True
    grant = call.caller.grant
    described = identity_token.Call(
        audience=wanted.audience,
        provider=call.upstream.provider,
        subject=token.subject,
        client_id=GATEWAY if grant is None else grant.client_id,
        claims=claims,
    )
    issuer = settings.IDENTITY_TOKENS
    if issuer is None:
        raise ImproperlyConfigured("IDENTITY_TOKENS is None.")
    return issuer.make_token(described, services().clock())


def _is_usable(token: TokenSet) -> bool:
    """Return True if the token can be sent (RFC 6750, or RFC 9449) in one header."""
    kind = "bearer" if token.dpop_key is None else dpop.SCHEME.lower()
    return token.token_type.lower() == kind and bool(SENDABLE.fullmatch(token.access_token))


def reconnect_url(provider: str) -> str:
    """Return the address at which a signed-in person connects a provider again."""
    if find_server(provider) is not None:
        return reverse("oauth_connect", args=[provider])
    if provider == "github":
        url = reverse("github_login")
    else:
        url = reverse("openid_connect_login", kwargs={"provider_id": provider})
    return url + "?process=connect"


def _sign_in_problem(provider: str, code: str, detail: str) -> Problem:
    url = reconnect_url(provider)
    return Problem(401, code, detail, provider=provider, sign_in_url=url, connect_url=url)


def redirect_to_connect(call: UpstreamCall, problem: Problem) -> HttpResponse | None:
    """Return a redirect for a person who opened an MCP server that is not connected."""
    connect_url = problem.members.get("connect_url")
    if connect_url is None or problem.status != 401 or not call.upstream.mcp:
        return None
    if call.is_client or not origin.is_navigation(call.request):
        return None
    back = continue_url(getattr(call.request, "scope", {}))
    query = f"?{urlencode({REDIRECT_FIELD_NAME: back})}" if back else ""
    return HttpResponseRedirect(connect_url + query, headers={"Cache-Control": "no-store"})


async def require_scope(call: UpstreamCall, headers: Headers) -> None:
    """Raise Problem if an MCP server's 403 demands scopes that connecting again may bring.

    The response passes if an operator chose the scopes, if connecting again has not helped, or if
    the person of an app consents at a provider that vouches for them, and not at the server.
    """
    demanded = bearer_parameters(joined_values(headers, b"www-authenticate"))
    server = find_server(call.upstream.provider)
    if demanded.get("error") != INSUFFICIENT_SCOPE or server is None or server.scopes is not None:
        return
    scopes = demanded.get("scope", "").split()
    grant = call.caller.grant
    if grant is not None and server.id_jag is not None:
        return
    try:
        if grant is not None:
            is_useful = await grant.demand_scopes(server.name, scopes)
        else:
            session = cast("SessionStore", call.caller.session)
            is_useful = await demand_scopes(session, server.name, scopes, services().clock())
    except SessionFull as error:
        raise session_full(error.connection) from None
    except StoreUnavailable:
        raise unavailable(
            "store_unavailable", "The session store cannot be used at the moment."
        ) from None
    if is_useful and grant is not None:
        raise _app_problem(server)
    if is_useful:
        raise Problem(
            403,
            MORE_SCOPE,
            "The upstream requires more permissions: connect it again to give them.",
            provider=server.name,
            connect_url=reconnect_url(server.name),
        )


def _app_problem(server: McpServer) -> Problem:
    """Return the problem for a client's person; a challenge would only repeat the same consent."""
    authorization_server = settings.AUTHORIZATION_SERVER
    issuer = "" if authorization_server is None else authorization_server.issuer
    apps = f"{issuer}{reverse('apps')}"
    return RPCProblem(
        403,
        MORE_SCOPE,
        f"{server.label} requires more permissions than this app was given. To give them, "
        f"disconnect the app at {apps} and sign in with it again: the page then names them.",
        rpc_code=MORE_SCOPE_RPC,
    )


async def settle_problem(call: UpstreamCall, problem: Problem) -> Problem:
    """Return the problem in the form for its caller; end a client's grant that has become useless.

    Otherwise the client would refresh its token, be rejected again, and be stuck. A grant whose
    provider does not vouch for its person now is not useless: another consent would not help.
    """
    grant = call.caller.grant
    if grant is not None and problem.code == NOT_VOUCHED:
        return RPCProblem(403, NOT_VOUCHED, problem.detail, rpc_code=NOT_VOUCHED_RPC)
    if grant is not None and problem.code in GRANT_ENDING_CODES:
        try:
            await grant.end()
        except StoreUnavailable:
            return unavailable(
                "store_unavailable", "The session store cannot be used at the moment."
            )
        problem = Problem(401, "grant_ended", "The provider requires a new sign-in.")
    if problem.status == 401 and grant is not None:
        challenged = grant_challenge(call.request.path_info, grant)
        problem.headers |= {CHALLENGE: challenged} if challenged else {}
    return problem
