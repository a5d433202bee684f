"""Checks whether the authorization endpoint accepts this client's redirect URI.

With `prompt=none`, a provider shows no page but redirects back with an error (OpenID Connect Core
section 3.1.2.6), if the redirect URI is registered. If a provider shows a page nevertheless, a
second request uses an unregistered redirect URI, and the two responses are compared. A provider
that does not support `prompt=none` gets the requests without it.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from oauth.codes import Code, remedy
from oauth.doctor.provider import REQUEST_TIMEOUT, callback_url, failure_finding
from oauth.exceptions import ProviderRefused, ProviderUnavailable
from oauth.formats import hash_text
from oauth.network import http
from oauth.network.responses import ProviderResponse
from oauth.provider import pushed_requests
from oauth.provider.config import ProviderConfig
from oauth.provider.metadata import Metadata
from sessions_kms.doctor.finding import Finding, Level, failing, ok, warning

NAME = "redirect URI"
PUSHED = "PAR"
Send = Callable[[Mapping[str, str]], ProviderResponse]  # an authorization request, pushed or not
# The provider needs a person for the next step: it accepted the request itself.
INTERACTION_ERRORS = frozenset(
    {"login_required", "interaction_required", "consent_required", "account_selection_required"}
)


def redirect_findings(
    provider: ProviderConfig, found: Metadata, site: str | None, clock: Callable[[], float]
) -> Iterator[Finding]:
    """Request an authorization without a person. Raises ProviderUnavailable."""
    back = callback_url(provider, site)
    if back is None:
        yield warning(
            NAME, "cannot be tested: this site's URL is unknown", "Pass it: --url https://…"
        )
        return
    parameters = _parameters(provider, back)

    def send(parameters: Mapping[str, str]) -> ProviderResponse:
        return _request(provider, found, parameters)

    def push(parameters: Mapping[str, str]) -> ProviderResponse:
        reference = pushed_requests.push_request(provider, found, parameters, clock=clock)
        return send({"client_id": provider.client_id, "request_uri": reference})

    if pushed_requests.uses_par(provider, found):
        yield from _pushed_findings(push, back, parameters)
        return
    finding = _examine_uri(send, back, parameters)
    if finding.level is not Level.OK and found.pushing_endpoint is not None:
        finding = _requires_pushing(push, back, parameters) or finding
    yield finding


def _pushed_findings(push: Send, back: str, parameters: Mapping[str, str]) -> Iterator[Finding]:
    try:
        finding = _examine_uri(push, back, parameters)
    except (ProviderRefused, ProviderUnavailable) as exc:
        yield failure_finding(PUSHED, exc)
        return
    yield ok(PUSHED, "the request is accepted")
    yield finding


def _requires_pushing(push: Send, back: str, parameters: Mapping[str, str]) -> Finding | None:
    """Return a finding if the request is accepted once it is pushed.

    A client's registration can require that where the metadata does not (RFC 9126 section 6).
    """
    try:
        pushed = _examine_uri(push, back, parameters)
    except (ProviderRefused, ProviderUnavailable):
        return None
    if pushed.level is not Level.OK:
        return None
    return failing(
        NAME,
        f"{back} is accepted in a pushed request only: the client's registration requires PAR",
        "Set OAUTH_<NAME>_PAR=1.",
    )


def _examine_uri(send: Send, back: str, parameters: Mapping[str, str]) -> Finding:
    """Return the finding about the redirect URI from the provider's responses.

    A 429 or a server error tells nothing about it, and some providers (django-oauth-toolkit)
    respond to `prompt=none` with one. Raises ProviderUnavailable and ProviderRefused.
    """
    response = _response_to_prompt(send, parameters) if "prompt" in parameters else None
    if response is None:
        parameters = {name: each for name, each in parameters.items() if name != "prompt"}
        response = send(parameters)
    if response.is_overloaded:
        return _unknown_finding(
            f"the authorization endpoint answers with the status {response.status}"
        )
    if response.status >= 400 or _redirects_to(back, response):
        return _error_finding(back, response)
    try:
        other = send({**parameters, "redirect_uri": f"{back}{secrets.token_hex(4)}"})
    except ProviderRefused:  # from the endpoint for pushed requests
        return ok(NAME, f"{back} is accepted, and an unregistered one is not")
    except ProviderUnavailable as exc:
        return _unknown_finding(f"{exc} ({exc.code})")
    if other.is_overloaded:
        return _unknown_finding(
            f"the authorization endpoint answers with the status {other.status}"
        )
    return _compare(back, response, other)


def _response_to_prompt(send: Send, parameters: Mapping[str, str]) -> ProviderResponse | None:
    """Return the response to `prompt=none`; None if the provider does not support it.

    Raises ProviderUnavailable and ProviderRefused.
    """
    try:
        response = send(parameters)
    except ProviderUnavailable as exc:
        if exc.code is not Code.PAR_STATUS:
            raise
        return None
    return None if response.is_overloaded else response


def _parameters(provider: ProviderConfig, back: str) -> dict[str, str]:
    parameters = {
        "client_id": provider.client_id,
        "response_type": "code",
        "redirect_uri": back,
        "scope": " ".join(provider.scope),
        "state": secrets.token_urlsafe(16),
        "code_challenge": hash_text(secrets.token_urlsafe(32)),
        "code_challenge_method": "S256",
    }
    if provider.resource is not None:
        parameters["resource"] = provider.resource
    if provider.issuer is None:
        return parameters
    return parameters | {"prompt": "none", "nonce": secrets.token_urlsafe(16)}


def _request(
    provider: ProviderConfig, found: Metadata, parameters: Mapping[str, str]
) -> ProviderResponse:
    url = found.document.get("authorization_endpoint") or provider.fixed_endpoint("authorize_url")
    parts = urlsplit(str(url))
    query = "&".join(filter(None, (parts.query, urlencode(parameters))))
    address = urlunsplit(parts._replace(query=query))
    return http.get(
        address,
        reach=found.reach,
        headers={"Accept": "text/html"},
        timeout=REQUEST_TIMEOUT,
        max_bytes=http.RESPONSE_MAX,
    )


def _error_finding(back: str, response: ProviderResponse) -> Finding:
    if not _redirects_to(back, response):
        return failing(
            NAME,
            f"the authorization endpoint rejects the request ({response.status})",
            f"Register exactly this URL for the client at the provider: {back}",
        )
    error = parse_qs(urlsplit(response.location or "").query).get("error", [""])[0]
    if error in INTERACTION_ERRORS:
        return ok(NAME, f"{back} is accepted")
    code = Code.of_error("authorization", error)
    return warning(NAME, f"{back} is accepted, the request is not ({code})", remedy(code))


def _unknown_finding(why: str) -> Finding:
    return warning(
        NAME,
        f"cannot tell: {why}",
        "Run this again later. If the result is the same, sign in, and see the provider's log.",
    )


def _compare(back: str, response: ProviderResponse, other: ProviderResponse) -> Finding:
    if _response_kind(response) != _response_kind(other):
        return ok(NAME, f"{back} gets another response than an unregistered one")
    return warning(
        NAME,
        "cannot tell: the provider responds the same to registered and unregistered ones",
        f"Check the client's registration at the provider by hand: {back}",
    )


def _response_kind(response: ProviderResponse) -> tuple[int, str]:
    return response.status, (response.location or "").partition("?")[0]


def _redirects_to(back: str, response: ProviderResponse) -> bool:
    return (response.location or "").partition("?")[0] == back
