"""Whether the authorization endpoint knows this client with its redirect URI.

With `prompt=none` a provider shows nothing, and leads back with an error instead
(OpenID Connect Core section 3.1.2.6): but only to a redirect URI that it knows. One that shows
a page all the same is asked again with a redirect URI that nobody registered; only a difference
tells anything then. One that cannot answer `prompt=none` is asked without it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from oauth.codes import Code, remedy
from oauth.doctor.provider import REQUEST_TIMEOUT, callback_url, failure_finding
from oauth.exceptions import ProviderRefused, ProviderUnavailable
from oauth.network import http
from oauth.network.responses import ProviderResponse
from oauth.provider import pushed_requests
from oauth.provider.config import ProviderConfig
from oauth.provider.metadata import Metadata
from oauth.sign_in.openid_adapter import code_challenge
from sessions_kms.doctor.finding import Finding, Level, failing, ok, warning

NAME = "redirect URI"
PUSHED = "PAR"
Send = Callable[[Mapping[str, str]], ProviderResponse]  # an authorization request, pushed or not
# What says that somebody has to do something: the request itself was accepted.
NOBODY_THERE = frozenset(
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
    """Return what the answers say about the redirect URI.

    A 429 or a server error says nothing about it, and some providers answer `prompt=none` with
    one (django-oauth-toolkit). Raises ProviderUnavailable and ProviderRefused.
    """
    answer = _answer_to_prompt(send, parameters) if "prompt" in parameters else None
    if answer is None:
        parameters = {name: each for name, each in parameters.items() if name != "prompt"}
        answer = send(parameters)
    if answer.is_overloaded:
        return _unknown_finding(
            f"the authorization endpoint answers with the status {answer.status}"
        )
    if answer.status >= 400 or _redirects_to(back, answer):
        return _error_finding(back, answer)
    try:
        other = send({**parameters, "redirect_uri": f"{back}{secrets.token_hex(4)}"})
    except ProviderRefused:  # by the endpoint for pushed requests
        return ok(NAME, f"{back} is accepted, and one that nobody registered is not")
    except ProviderUnavailable as exc:
        return _unknown_finding(f"{exc} ({exc.code})")
    if other.is_overloaded:
        return _unknown_finding(
            f"the authorization endpoint answers with the status {other.status}"
        )
    return _compare(back, answer, other)


def _answer_to_prompt(send: Send, parameters: Mapping[str, str]) -> ProviderResponse | None:
    """Return the answer to `prompt=none`; None where the provider cannot give one.

    Raises ProviderUnavailable and ProviderRefused.
    """
    try:
        answer = send(parameters)
    except ProviderUnavailable as exc:
        if exc.code is not Code.PAR_STATUS:
            raise
        return None
    return None if answer.is_overloaded else answer


def _parameters(provider: ProviderConfig, back: str) -> dict[str, str]:
    asked = {
        "client_id": provider.client_id,
        "response_type": "code",
        "redirect_uri": back,
        "scope": " ".join(provider.scope),
        "state": secrets.token_urlsafe(16),
        "code_challenge": code_challenge(secrets.token_urlsafe(32)),
        "code_challenge_method": "S256",
    }
    if provider.issuer is None:
        return asked
    return asked | {"prompt": "none", "nonce": secrets.token_urlsafe(16)}


def _request(
    provider: ProviderConfig, found: Metadata, asked: Mapping[str, str]
) -> ProviderResponse:
    url = found.document.get("authorization_endpoint") or provider.fixed_endpoint("authorize_url")
    parts = urlsplit(str(url))
    query = "&".join(filter(None, (parts.query, urlencode(asked))))
    address = urlunsplit(parts._replace(query=query))
    return http.get(
        address,
        reach=found.reach,
        headers={"Accept": "text/html"},
        timeout=REQUEST_TIMEOUT,
        max_bytes=http.RESPONSE_MAX,
    )


def _error_finding(back: str, answer: ProviderResponse) -> Finding:
    if not _redirects_to(back, answer):
        return failing(
            NAME,
            f"the authorization endpoint refuses the request ({answer.status})",
            f"Register this address, letter by letter, for the client at the provider: {back}",
        )
    error = parse_qs(urlsplit(answer.location or "").query).get("error", [""])[0]
    if error in NOBODY_THERE:
        return ok(NAME, f"{back} is accepted")
    code = Code.of_answer("authorization", error)
    return warning(NAME, f"{back} is accepted, the request is not ({code})", remedy(code))


def _unknown_finding(why: str) -> Finding:
    return warning(
        NAME,
        f"cannot tell: {why}",
        "Run this again later. If the answer is the same, sign in, and see the provider's log.",
    )


def _compare(back: str, answer: ProviderResponse, other: ProviderResponse) -> Finding:
    if _response_kind(answer) != _response_kind(other):
        return ok(NAME, f"{back} gets another response than an unregistered one")
    return warning(
        NAME,
        "cannot tell: the provider responds the same to registered and unregistered ones",
        f"Compare by hand what is registered for the client: {back}",
    )


def _response_kind(answer: ProviderResponse) -> tuple[int, str]:
    return answer.status, (answer.location or "").partition("?")[0]


def _redirects_to(back: str, answer: ProviderResponse) -> bool:
    return (answer.location or "").partition("?")[0] == back
