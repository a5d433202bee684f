"""`POST /oauth/token` and `POST /oauth/revoke`: exchange codes, refresh tokens and assertions, and
end grants.

RFC 6749 sections 4.1.3, 5 and 6, RFC 7523 section 2.1, and RFC 7009. `oauth.clients.grants` checks
the code or token, and `oauth.clients.id_jag` the assertion of a provider; then the client's
credentials are checked (`oauth.clients.authentication`), if it is not a public client.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from oauth.clients.authentication.assertion import named_client
from oauth.clients.authentication.authenticator import (
    Authenticator,
    Credentials,
    make_authenticator,
)
from oauth.clients.authentication.dpop_proof import SCHEME, RequestProof
from oauth.clients.endpoints import api
from oauth.clients.endpoints.api import (
    api_endpoint,
    arrival_time,
    error_response,
    json_response,
    unavailable_response,
)
from oauth.clients.grants import grants
from oauth.clients.id_jag.exchange import AssertionExchange, AssertionRequest
from oauth.clients.id_jag.issuers import find_open_upstreams
from oauth.clients.rules import parsing, resources
from oauth.clients.rules.client import AUTHORIZATION_CODE, JWT_BEARER, REFRESH_TOKEN
from oauth.clients.rules.errors import (
    INVALID_AUTHORIZATION_DETAILS,
    INVALID_CLIENT,
    INVALID_TARGET,
    TEMPORARILY_UNAVAILABLE,
    UNSUPPORTED_GRANT_TYPE,
    RequestRejected,
    TooManyRequests,
    UnknownClient,
)
from oauth.clients.rules.parsing import require_parameter, require_unique
from oauth.clients.sealed_grant import TokenResponse
from oauth.clients.server import AuthorizationServer, authorization_server
from oauth.exceptions import ProviderBusy
from oauth.network.concurrency import ConcurrencyLimit
from sessions_kms import outages
from sessions_kms.concurrency.waits import run_sync

REQUESTS_MAX = 16  # concurrent requests of one process, each with some calls to the store
# Of these, anybody's assertions: they may wait for the keys of a slow provider.
ASSERTIONS_MAX = 8
RESOURCE = "resource"  # which may be repeated: RFC 8707 section 2.2
ASSERTION = "client_assertion"  # RFC 7521 section 4.2
AUTHORIZATION = "Authorization"
PROOF = "DPoP"  # RFC 9449 section 5
ASSERTION_FORM_MAX = 32 * 1024  # bytes: a provider may name all of a person's groups
NO_CACHE = {"Cache-Control": "no-store", "Pragma": "no-cache"}  # RFC 6749 section 5.1

_requests = ConcurrencyLimit(REQUESTS_MAX)
_assertions = ConcurrencyLimit(ASSERTIONS_MAX)

Form = dict[str, str]


@api_endpoint("POST")
def token(request: HttpRequest) -> HttpResponse:
    """Issue tokens for a code or a refresh token."""
    __traceback_hide__ = True
    arrived_at = arrival_time(request)
    form, resource = _read_fields(request)
    server = authorization_server()
    give = _find_grant_type(server, require_parameter(form, "grant_type"))
    _check_client(server, form)
    upstream = _named_upstream(server, resource)
    client, proof = _make_authenticator(request, form), _make_proof(request, form)

    def respond() -> HttpResponse:
        __traceback_hide__ = True
        try:
            return give(form, upstream, arrived_at, client, proof)
        except TooManyRequests as error:
            again = {"Retry-After": str(error.retry_after)}
            response = error_response(TEMPORARILY_UNAVAILABLE, str(error), 503, again)
            outages.log_refusal(request, str(error), response)  # One client's: no outage.
            return response

    return _with_slot(respond)


setattr(token, api.BODY_MAX_ATTRIBUTE, ASSERTION_FORM_MAX + 1)


@api_endpoint("POST")
def revoke(request: HttpRequest) -> HttpResponse:
    """End the grant of a token (RFC 7009); an unknown token's grant has already ended."""
    __traceback_hide__ = True
    form, _ = _read_fields(request)
    presented, client_id = require_parameter(form, "token"), require_parameter(form, "client_id")
    client = _make_authenticator(request, form)

    def end() -> HttpResponse:
        __traceback_hide__ = True
        run_sync(grants().revoke(presented, client_id=client_id, client=client))
        return json_response({})

    return _with_slot(end)


def _redeem_code(
    form: Form, upstream: str | None, arrived_at: float, client: Authenticator, proof: RequestProof
) -> HttpResponse:
    __traceback_hide__ = True
    issued = run_sync(
        grants().redeem(
            require_parameter(form, "code"),
            verifier=require_parameter(form, "code_verifier"),
            client_id=form["client_id"],
            redirect_uri=form.get("redirect_uri"),
            resource=_audience(upstream),
            arrived_at=arrived_at,
            is_allowed=_may_keep_grant(form),
            client=client,
            proof=proof,
        )
    )
    return _token_response(issued)


def _refresh(
    form: Form, upstream: str | None, arrived_at: float, client: Authenticator, proof: RequestProof
) -> HttpResponse:
    __traceback_hide__ = True
    issued = run_sync(
        grants().refresh(
            require_parameter(form, "refresh_token"),
            client_id=form["client_id"],
            resource=_audience(upstream),
            scope=form.get("scope"),
            arrived_at=arrived_at,
            is_allowed=_may_keep_grant(form),
            client=client,
            proof=proof,
        )
    )
    return _token_response(issued)


def _exchange_assertion(
    form: Form, upstream: str | None, arrived_at: float, client: Authenticator, proof: RequestProof
) -> HttpResponse:
    __traceback_hide__ = True
    if "authorization_details" in form:
        raise RequestRejected(INVALID_AUTHORIZATION_DETAILS, "The parameter is not supported.")
    request = AssertionRequest(
        assertion=require_parameter(form, "assertion"),
        client_id=form["client_id"],
        upstream=upstream,
        scope=form.get("scope", ""),
        client=client,
        binding=grants().make_binding(proof),
    )
    with _assertions.slot(""):
        issued = AssertionExchange(authorization_server(), grants().services, request).run()
    document = {
        "access_token": issued.access_token,
        "token_type": "Bearer" if issued.jkt is None else SCHEME,
        "expires_in": issued.expires_in,
        "scope": issued.scope,
    }
    return json_response(document, headers=NO_CACHE)


GiveTokens: TypeAlias = Callable[
    [Form, str | None, float, Authenticator, RequestProof], HttpResponse
]

_GRANT_TYPES: dict[str, GiveTokens] = {
    AUTHORIZATION_CODE: _redeem_code,
    REFRESH_TOKEN: _refresh,
    JWT_BEARER: _exchange_assertion,
}


def _find_grant_type(server: AuthorizationServer, name: str) -> GiveTokens:
    """Return what gives tokens for a grant type. Raises RequestRejected for one that is off."""
    give = _GRANT_TYPES.get(name)
    if give is None or (name == JWT_BEARER and not find_open_upstreams(server)):
        raise RequestRejected(UNSUPPORTED_GRANT_TYPE, "The grant_type is not supported.")
    return give


def _read_fields(request: HttpRequest) -> tuple[Form, list[str]]:
    """Return the fields that come once, and the resources. Raises RequestRejected."""
    __traceback_hide__ = True
    body = api.read_body(request, api.FORM, ASSERTION_FORM_MAX)
    pairs = parsing.parse_pairs(body)
    if len(body.encode()) > api.BODY_MAX and ("grant_type", JWT_BEARER) not in pairs:
        raise api.too_long(api.BODY_MAX)
    resource = [value for name, value in pairs if name == RESOURCE and value]
    form = require_unique([pair for pair in pairs if pair[0] != RESOURCE])
    return _with_client_id(form, request.headers.get(AUTHORIZATION, "")), resource


def _with_client_id(form: Form, header: str) -> Form:
    """Return the form with the client_id of the `Authorization` header, if that was sent.

    Raises RequestRejected, also for a secret of a client that has none.
    """
    __traceback_hide__ = True
    if not header:
        return _with_client_id_of_assertion(form)
    sent = parsing.parse_basic_credentials(header)
    listed = authorization_server().listed
    client_id = sent.sent_id if sent.sent_id in listed else sent.client_id
    if form.get("client_id", client_id) != client_id:
        raise RequestRejected(INVALID_CLIENT, "Authorization names another client than the form.")
    known = listed.get(client_id)
    if sent.secret and (known is None or not known.authentication.secret_digests):
        raise RequestRejected(INVALID_CLIENT, parsing.UNUSABLE_HEADER)
    return form | {"client_id": client_id}


def _with_client_id_of_assertion(form: Form) -> Form:
    """Return the form with the `sub` of its assertion as client_id, if it has no other."""
    __traceback_hide__ = True
    if "client_id" in form or not authorization_server().private_key_jwt:
        return form
    client_id = named_client(form.get(ASSERTION, ""))
    return form if client_id is None else form | {"client_id": client_id}


def _make_authenticator(request: HttpRequest, form: Form) -> Authenticator:
    """Return what authenticates the client of a request, after its token was found."""
    __traceback_hide__ = True
    server = authorization_server()
    header = request.headers.get(AUTHORIZATION, "")
    credentials = Credentials(
        client_id=require_parameter(form, "client_id"),
        assertion=form.get(ASSERTION, ""),
        assertion_type=form.get("client_assertion_type", ""),
        secret=form.get("client_secret", ""),
        has_header=bool(header),
        header_secret=parsing.parse_basic_credentials(header).secret if header else "",
    )
    endpoint = server.issuer + reverse("oauth_clients_token")
    return make_authenticator(server, grants().services, credentials, endpoint)


def _make_proof(request: HttpRequest, form: Form) -> RequestProof:
    """Return what proves that the client has a key, which is checked after its token was found."""
    __traceback_hide__ = True
    server = authorization_server()
    listed = server.listed.get(form["client_id"])
    return RequestProof(
        text=request.headers.get(PROOF, ""),
        method=request.method or "",
        url=server.issuer + request.path,
        is_enabled=server.dpop,
        is_required=listed is not None and listed.needs_proof,
    )


def _check_client(server: AuthorizationServer, form: Form) -> None:
    """Reject a client that is no longer known, with the error that makes it register again.

    The client and redirect URI of a code are checked later, against the code's item.
    """
    if not server.is_known(require_parameter(form, "client_id")):
        raise UnknownClient("The client is not known here, or not any more.")


def _may_keep_grant(form: Form) -> Callable[[str], bool]:
    return partial(authorization_server().may_hold_grant, form["client_id"])


def _named_upstream(server: AuthorizationServer, named: list[str]) -> str | None:
    """Return the upstream that a token is requested for. Raises RequestRejected."""
    if len(named) > 1:
        raise RequestRejected(INVALID_TARGET, "A token is for one resource.")
    return resources.find_upstream(server.issuer, server.upstreams, named[0]) if named else None


def _audience(upstream: str | None) -> str | None:
    return upstream and resources.resource_of(authorization_server().issuer, upstream)


def _with_slot(work: Callable[[], HttpResponse]) -> HttpResponse:
    """Do the work, unless too many requests are running; the body was read before."""
    __traceback_hide__ = True
    try:
        with _requests.slot(""):
            return work()
    except ProviderBusy:
        return unavailable_response("Too many clients ask for tokens at once.")


def _token_response(issued: TokenResponse) -> HttpResponse:
    __traceback_hide__ = True
    document: dict[str, Any] = {
        "access_token": issued.access_token,
        "token_type": "Bearer" if issued.jkt is None else SCHEME,
        "expires_in": issued.expires_in,
        "refresh_token": issued.refresh_token,
        "scope": issued.scope,
        # draft-ietf-oauth-refresh-token-expiration-03
        "refresh_token_timeout": issued.refresh_token_timeout,
        "authorization_expires_in": issued.authorization_expires_in,
    }
    return json_response(document, headers=NO_CACHE)
