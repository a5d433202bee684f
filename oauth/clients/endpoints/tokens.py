"""`POST /oauth/token` and `POST /oauth/revoke`: exchange codes and refresh tokens, and end grants.

RFC 6749 sections 4.1.3, 5 and 6, and RFC 7009. `oauth.clients.grants` checks the code or token, and
then the client's credentials (`oauth.clients.authentication`), if it is not a public client.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

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
from oauth.clients.rules import parsing, resources
from oauth.clients.rules.errors import (
    INVALID_CLIENT,
    INVALID_TARGET,
    TEMPORARILY_UNAVAILABLE,
    UNSUPPORTED_GRANT_TYPE,
    RequestRejected,
    TooManyRefreshes,
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
RESOURCE = "resource"  # which may be repeated: RFC 8707 section 2.2
ASSERTION = "client_assertion"  # RFC 7521 section 4.2
AUTHORIZATION = "Authorization"
PROOF = "DPoP"  # RFC 9449 section 5

_requests = ConcurrencyLimit(REQUESTS_MAX)

Form = dict[str, str]


@api_endpoint("POST")
def token(request: HttpRequest) -> HttpResponse:
    """Issue tokens for a code or a refresh token."""
    __traceback_hide__ = True
    arrived_at = arrival_time(request)
    form, resource = _read_fields(request)
    give = _GRANT_TYPES.get(require_parameter(form, "grant_type"))
    if give is None:
        raise RequestRejected(UNSUPPORTED_GRANT_TYPE, "The grant_type is not supported.")
    server = authorization_server()
    _check_client(server, form)
    audience = _audience(server, resource)
    client, proof = _make_authenticator(request, form), _make_proof(request, form)

    def answer() -> HttpResponse:
        __traceback_hide__ = True
        try:
            return _token_response(give(form, audience, arrived_at, client, proof))
        except TooManyRefreshes as error:
            again = {"Retry-After": str(error.retry_after)}
            response = error_response(TEMPORARILY_UNAVAILABLE, str(error), 503, again)
            outages.log_refusal(request, str(error), response)  # One client's: no outage.
            return response

    return _with_slot(answer)


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
    form: Form, resource: str | None, arrived_at: float, client: Authenticator, proof: RequestProof
) -> TokenResponse:
    __traceback_hide__ = True
    return run_sync(
        grants().redeem(
            require_parameter(form, "code"),
            verifier=require_parameter(form, "code_verifier"),
            client_id=form["client_id"],
            redirect_uri=form.get("redirect_uri"),
            resource=resource,
            arrived_at=arrived_at,
            is_allowed=_may_keep_grant(form),
            client=client,
            proof=proof,
        )
    )


def _refresh(
    form: Form, resource: str | None, arrived_at: float, client: Authenticator, proof: RequestProof
) -> TokenResponse:
    __traceback_hide__ = True
    return run_sync(
        grants().refresh(
            require_parameter(form, "refresh_token"),
            client_id=form["client_id"],
            resource=resource,
            scope=form.get("scope"),
            arrived_at=arrived_at,
            is_allowed=_may_keep_grant(form),
            client=client,
            proof=proof,
        )
    )


_GRANT_TYPES: dict[
    str, Callable[[Form, str | None, float, Authenticator, RequestProof], TokenResponse]
] = {
    "authorization_code": _redeem_code,
    "refresh_token": _refresh,
}


def _read_fields(request: HttpRequest) -> tuple[Form, list[str]]:
    """Return the fields that come once, and the resources. Raises RequestRejected."""
    __traceback_hide__ = True
    pairs = api.read_form(request)
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
        assertion=form.get(ASSERTION, "") if server.private_key_jwt else "",
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


def _audience(server: AuthorizationServer, named: list[str]) -> str | None:
    """Return the resource that a token is requested for. Raises RequestRejected."""
    if len(named) > 1:
        raise RequestRejected(INVALID_TARGET, "A token is for one resource.")
    if not named:
        return None
    upstream = resources.find_upstream(server.issuer, server.upstreams, named[0])
    return resources.resource_of(server.issuer, upstream)


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
    return json_response(document, headers={"Cache-Control": "no-store", "Pragma": "no-cache"})
