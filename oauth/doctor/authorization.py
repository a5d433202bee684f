"""Whether the authorization endpoint knows this client with its redirect URI.

With `prompt=none` a provider shows nothing, and leads back with an error instead
(OpenID Connect Core section 3.1.2.6): but only to a redirect URI that it knows. One that shows
a page all the same is asked again with a redirect URI that nobody registered; only a difference
tells anything then.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from oauth import endpoints, http
from oauth.codes import Code
from oauth.doctor.remedies import PATIENCE, remedy
from oauth.doctor.site import callback_address
from oauth.endpoints import Metadata
from oauth.exceptions import ProviderUnavailable
from oauth.openid import code_challenge
from oauth.providers import Provider
from sessions_kms.doctor.finding import Finding, failing, ok, warning

NAME = "redirect URI"
PUSHED = "PAR"
# What says that somebody has to do something: the request itself was accepted.
NOBODY_THERE = frozenset(
    {"login_required", "interaction_required", "consent_required", "account_selection_required"}
)


def redirect_findings(provider: Provider, found: Metadata, site: str | None) -> Iterator[Finding]:
    """Ask for a code as nobody. Raises ProviderUnavailable."""
    back = callback_address(provider, site)
    if back is None:
        yield warning(
            NAME, "cannot be tried: this site's address is not known", "Name it: --url https://…"
        )
        return
    asked = _parameters(provider, back)
    if (push_at := _push_endpoint(provider, found)) is not None:
        pushed = endpoints.ask_token_endpoint(
            provider, found, asked, url=push_at, patience=PATIENCE
        )
        yield _pushed(pushed)
        if pushed.status != 201:
            return
        asked = {"client_id": provider.client_id, "request_uri": _request_uri(pushed)}
        yield _told(back, _asked(provider, found, asked))
        return
    answer = _asked(provider, found, asked)
    if answer.status < 400 and not _leads_to(back, answer):
        other = _asked(provider, found, asked | {"redirect_uri": f"{back}{secrets.token_hex(4)}"})
        yield _compared(back, answer, other)
    else:
        yield _told(back, answer)


def _push_endpoint(provider: Provider, found: Metadata) -> str | None:
    """Return where requests are pushed (RFC 9126 section 5), if the provider insists on it."""
    document = found.document
    if document.get("require_pushed_authorization_requests") is not True:
        return None
    endpoint = document.get("pushed_authorization_request_endpoint")
    is_safe = isinstance(endpoint, str) and endpoints.is_safe(
        endpoint, found.issuer or "", allow_http=provider.allow_http
    )
    if not is_safe:
        raise ProviderUnavailable(
            "The provider wants requests to be pushed, and names no safe endpoint for it.",
            Code.METADATA_ENDPOINT,
        )
    return endpoint


def _parameters(provider: Provider, back: str) -> dict[str, str]:
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


def _asked(provider: Provider, found: Metadata, asked: Mapping[str, str]) -> http.Answer:
    url = found.document.get("authorization_endpoint") or provider.fixed_endpoint("authorize_url")
    parts = urlsplit(str(url))
    query = "&".join(filter(None, (parts.query, urlencode(asked))))
    address = urlunsplit(parts._replace(query=query))
    return http.get(
        address,
        reach=found.reach,
        headers={"Accept": "text/html"},
        patience=PATIENCE,
        most=http.ANSWER_MAX,
    )


def _pushed(answer: http.Answer) -> Finding:
    if answer.status == 201:
        return ok(PUSHED, "the request is accepted")
    code = Code.PROVIDER_UNAVAILABLE if answer.is_overloaded else _code(answer)
    return failing(PUSHED, f"the request is not accepted ({code})", remedy(code))


def _code(answer: http.Answer) -> Code:
    try:
        return Code.of_answer("token", answer.content().get("error"))
    except ProviderUnavailable as exc:
        return exc.code


def _request_uri(answer: http.Answer) -> str:
    return str(answer.content().get("request_uri", ""))


def _told(back: str, answer: http.Answer) -> Finding:
    if not _leads_to(back, answer):
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


def _compared(back: str, answer: http.Answer, other: http.Answer) -> Finding:
    if _kind(answer) != _kind(other):
        return ok(NAME, f"{back} is answered otherwise than one that nobody registered")
    return warning(
        NAME,
        "cannot be told: the provider answers alike whether one is registered or not",
        f"Compare by hand what is registered for the client: {back}",
    )


def _kind(answer: http.Answer) -> tuple[int, str]:
    return answer.status, (answer.location or "").partition("?")[0]


def _leads_to(back: str, answer: http.Answer) -> bool:
    return (answer.location or "").partition("?")[0] == back
