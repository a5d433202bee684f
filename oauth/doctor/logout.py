"""What signing out needs: of the provider, and of this site's addresses at the provider."""

from __future__ import annotations

from collections.abc import Iterator

from django.urls import NoReverseMatch, reverse

from oauth.logout import session_links
from oauth.provider.config import Provider
from oauth.provider.metadata import Metadata
from sessions_kms.doctor.finding import Finding, ok, warning

BACK = "back-channel logout"
SINGLE = "single logout"
REGISTER = "Register there, if it is not yet: "


def logout_findings(provider: Provider, found: Metadata, site: str | None) -> Iterator[Finding]:
    """Look at what is configured against what the provider says; nobody is asked."""
    if provider.issuer is not None:
        yield _back_channel(provider, found, site)
    if provider.single_logout is not None:
        yield _single(provider, found, site)


def _back_channel(provider: Provider, found: Metadata, site: str | None) -> Finding:
    if not session_links.allows(provider, found):
        return ok(BACK, "is off, or not offered")
    if not found.backchannel_logout:
        return warning(
            BACK,
            "is on here, and the provider does not say that it does it",
            "Set OAUTH_<NAME>_BACKCHANNEL_LOGOUT=0, unless you know that it does.",
        )
    if found.document.get("backchannel_logout_session_supported") is not True:
        return warning(
            BACK,
            "names no session: a sign-out there ends all sessions of the person here",
            "Nothing, if that is meant; else have the provider send `sid`.",
        )
    return ok(BACK, f"is offered. {REGISTER}{_address('backchannel_logout', site, provider.name)}")


def _single(provider: Provider, found: Metadata, site: str | None) -> Finding:
    if found.end_session_endpoint is None:
        return warning(
            SINGLE,
            "is on here, and the provider has no end-session endpoint: sign-outs end here",
            "Set OAUTH_<NAME>_SINGLE_LOGOUT=0.",
        )
    return ok(SINGLE, f"is offered. {REGISTER}{_address('oauth_signed_out', site)}")


def _address(view: str, site: str | None, *arguments: str) -> str:
    try:
        return f"{site or 'https://…'}{reverse(view, args=arguments)}"
    except NoReverseMatch:
        return "the address of that view, which this site does not serve"
