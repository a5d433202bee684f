"""Whether the authorization endpoint knows this client with its redirect URI.

With `prompt=none` a provider shows nothing, and leads back with an error instead
(OpenID Connect Core section 3.1.2.6): but only to a redirect URI that it knows. One that shows
a page all the same is asked again with a redirect URI that nobody registered; only a difference
tells anything then.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from oauth.codes import Code, remedy
from oauth.doctor.remedies import PATIENCE, trouble
from oauth.doctor.site import callback_address
from oauth.exceptions import ProviderRefused, ProviderUnavailable
from oauth.network import http
from oauth.provider import pushed_requests
from oauth.provider.config import Provider
from oauth.provider.metadata import Metadata
from oauth.sign_in.adapters.openid import code_challenge
from sessions_kms.doctor.finding import Finding, failing, ok, warning

NAME = "redirect URI"
PUSHED = "PAR"
# What says that somebody has to do something: the request itself was accepted.
NOBODY_THERE = frozenset(
    {"login_required", "interaction_required", "consent_required", "account_selection_required"}
)


def redirect_findings(
    provider: Provider, found: Metadata, site: str | None, clock: Callable[[], float]
) -> Iterator[Finding]:
    """Ask for a code as nobody. Raises ProviderUnavailable."""
    back = callback_address(provider, site)
    if back is None:
        yield warning(
            NAME, "cannot be tried: this site's address is not known", "Name it: --url https://…"
        )
        return
    asked = _parameters(provider, back)
    if pushed_requests.is_wanted(provider, found):
        try:
            reference = pushed_requests.pushed(provider, found, asked, clock=clock)
        except (ProviderRefused, ProviderUnavailable) as exc:
            yield trouble(PUSHED, exc)
            return
        yield ok(PUSHED, "the request is accepted")
        asked = {"client_id": provider.client_id, "request_uri": reference}
        yield _told(back, _asked(provider, found, asked))
        return
    answer = _asked(provider, found, asked)
    if answer.status < 400 and not _leads_to(back, answer):
        other = _asked(provider, found, asked | {"redirect_uri": f"{back}{secrets.token_hex(4)}"})
        yield _compared(back, answer, other)
    else:
        yield _told(back, answer)


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
