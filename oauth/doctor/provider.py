"""Checks of one provider: its connection, keys, this client's credentials, and the settings for
signing out.

The client's credentials are tested with a made-up code. A provider checks the client first (RFC
6749 section 5.2): `invalid_client` is about the credentials, `invalid_grant` only about the code.
"""

import secrets
import ssl
from collections.abc import Callable, Iterator

from allauth.socialaccount.providers import registry
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from django.urls import NoReverseMatch, reverse

from oauth.codes import Code, remedy
from oauth.exceptions import ProviderRefused, ProviderUnavailable
from oauth.logout import session_links
from oauth.network import http
from oauth.provider import dpop, jwks, signing_keys, token_endpoint
from oauth.provider.config import ProviderConfig
from oauth.provider.id_token import CLOCK_DIFFERENCE
from oauth.provider.metadata import Metadata
from sessions_kms import parse_date
from sessions_kms.doctor.finding import Finding, failing, ok, warning

REQUEST_TIMEOUT = 5.0  # seconds for each request

DAYS_LEFT = 14
CLOCK_WARNING = 10  # seconds

CLIENT = "client"
UNKNOWN_SITE = "https://gateway.invalid/"  # RFC 6761; if this site's own URL is not known

BACKCHANNEL = "back-channel logout"
SINGLE_LOGOUT = "single logout"
REGISTER = "Register at the provider: "


def failure_finding(name: str, error: ProviderUnavailable | ProviderRefused) -> Finding:
    """Return the finding for an error."""
    return failing(name, f"{error} ({error.code})", remedy(error.code))


def callback_url(provider: ProviderConfig, site: str | None) -> str | None:
    """Return the redirect URI, to which the provider sends browsers back."""
    if site is None:
        return None
    kind = registry.get_class(provider.kind)
    if kind is not None and issubclass(kind, OpenIDConnectProvider):
        return site + reverse(f"{kind.id}_callback", kwargs={"provider_id": provider.name})
    return site + reverse(f"{provider.kind}_callback")


def connection_findings(found: Metadata, clock: Callable[[], float]) -> Iterator[Finding]:
    """Send a GET to the token endpoint, and check TLS and clock. Raises ProviderUnavailable."""
    response = http.get(found.token_endpoint, reach=found.reach, timeout=REQUEST_TIMEOUT)
    now = clock()
    yield _check_certificate(found.token_endpoint, response.certificate_end, now)
    yield _check_clock(parse_date(response.date), now)


def _check_certificate(url: str, end: str | None, now: float) -> Finding:
    if not url.startswith("https:"):
        return warning(
            "TLS",
            "the token endpoint uses plain http",
            "Give the provider a certificate, unless it is a test provider on this machine.",
        )
    if end is None:
        return ok("TLS", "is verified by the proxy in between")
    days = int((ssl.cert_time_to_seconds(end) - now) // 86_400)
    if days < DAYS_LEFT:
        return warning("TLS", f"the certificate expires in {days} days", "Renew it in time.")
    return ok("TLS", f"the certificate is valid for {days} days")


def _check_clock(there: float | None, now: float) -> Finding:
    if there is None:
        return ok("clock", "cannot tell: the response has no Date header")
    skew = round(now - there)
    detail = f"{abs(skew)} s {'ahead of' if skew > 0 else 'behind'} the provider's"
    remedy = "Synchronize both machines' clocks by NTP: id tokens depend on them."
    if abs(skew) > CLOCK_DIFFERENCE:
        return failing("clock", detail, remedy)
    return warning("clock", detail, remedy) if abs(skew) > CLOCK_WARNING else ok("clock", detail)


def key_findings(found: Metadata) -> Iterator[Finding]:
    """Fetch the JWK Set and check its keys. Raises ProviderUnavailable."""
    if found.jwks_uri is None:
        return
    keys = jwks.load_signing_keys(found.jwks_uri, found.reach)
    if keys:
        yield ok("keys", f"{len(keys)} usable for signatures")
    else:
        key_types = ", ".join(
            sorted({kty if curve is None else curve for kty, curve in signing_keys.KEY_TYPES})
        )
        yield failing(
            "keys",
            "none usable for signatures",
            f"Have the provider publish a key of type {key_types} for signatures"
            " (RSA: 2048 bits or more).",
        )


def client_findings(
    provider: ProviderConfig, found: Metadata, site: str | None, clock: Callable[[], float]
) -> Iterator[Finding]:
    """Try to exchange a made-up code. Raises ProviderUnavailable."""
    form = {
        "grant_type": "authorization_code",
        "code": secrets.token_urlsafe(24),
        "redirect_uri": callback_url(provider, site) or UNKNOWN_SITE,
        "code_verifier": secrets.token_urlsafe(32),
    }
    key = dpop.new_dpop_key() if provider.dpop else None
    response = token_endpoint.request_tokens(
        provider, found, form, clock=clock, dpop_key=key, timeout=REQUEST_TIMEOUT
    )
    try:
        response.parse_tokens()
    except ProviderRefused as exc:
        yield _client_finding(exc.code)
    else:
        yield failing(
            CLIENT,
            "the token endpoint issued tokens for a made-up code",
            "Disable this provider.",
        )


def _client_finding(code: Code) -> Finding:
    if code is Code.TOKEN_INVALID_GRANT:
        return ok(CLIENT, "is accepted; the made-up code is rejected")
    if code in {Code.TOKEN_INVALID_CLIENT, Code.TOKEN_UNAUTHORIZED_CLIENT}:
        return failing(CLIENT, f"the token endpoint does not accept it ({code})", remedy(code))
    return warning(CLIENT, f"cannot tell: the token endpoint responds with {code}", remedy(code))


def logout_findings(
    provider: ProviderConfig, found: Metadata, site: str | None
) -> Iterator[Finding]:
    """Compare the configuration with the provider's metadata, without a request."""
    if provider.issuer is not None:
        yield _check_backchannel(provider, found, site)
    if provider.single_logout is not None:
        yield _check_single_logout(provider, found, site)


def _check_backchannel(provider: ProviderConfig, found: Metadata, site: str | None) -> Finding:
    if not session_links.allows_backchannel_logout(provider, found):
        return ok(BACKCHANNEL, "is off, or not offered")
    if not found.backchannel_logout:
        return warning(
            BACKCHANNEL,
            "is on here, but the provider's metadata does not offer it",
            "Set OAUTH_<NAME>_BACKCHANNEL_LOGOUT=0, unless you know that it does.",
        )
    if found.document.get("backchannel_logout_session_supported") is not True:
        return warning(
            BACKCHANNEL,
            "names no session: a sign-out there ends all of the person's sessions here",
            "Nothing if this is intended; otherwise have the provider send `sid`.",
        )
    return ok(
        BACKCHANNEL, f"is offered. {REGISTER}{_view_url('backchannel_logout', site, provider.name)}"
    )


def _check_single_logout(provider: ProviderConfig, found: Metadata, site: str | None) -> Finding:
    if found.end_session_endpoint is None:
        return warning(
            SINGLE_LOGOUT,
            "is on here, but the provider has no end-session endpoint: sign-outs end here",
            "Set OAUTH_<NAME>_SINGLE_LOGOUT=0.",
        )
    return ok(SINGLE_LOGOUT, f"is offered. {REGISTER}{_view_url('oauth_signed_out', site)}")


def _view_url(view: str, site: str | None, *arguments: str) -> str:
    try:
        return f"{site or 'https://…'}{reverse(view, args=arguments)}"
    except NoReverseMatch:
        return "the address of that view, which this site does not serve"
