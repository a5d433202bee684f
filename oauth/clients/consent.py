"""What a person allowed a client, as the consent page showed it, and the labels of the grant in
lists.

Labels are stored as the grant's session metadata (`sessions_kms.about`) and bounded; of a long host
the end is kept, which says whose it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from oauth.clients.rules.client import HOST_LABEL, LABEL_MAX
from oauth.tokens.remaining_access import PROVIDER_LABEL
from sessions_kms import about

UPSTREAM, REDIRECT, PROVIDER = "upstream", "redirect_host", PROVIDER_LABEL
ASSERTED_BY = "asserted_by"  # the provider whose assertion a grant came with, instead of a consent
AssertedEntry = tuple[str, str, str]  # client, upstream, provider
WANTED = ("wanted_scope", "wanted_scope_2")  # `oauth.clients.wanted_scopes`


@dataclass(frozen=True)
class Consent:
    """One client, one upstream, one code challenge.

    ``client_host`` is the host that verifies the client's name, or None for a claimed name.
    ``scope`` is separated by spaces (RFC 6749 section 3.3), ``resource`` the audience
    (RFC 8707), ``challenge`` that of the method S256 (RFC 7636). With ``needs_authentication`` the
    client supported no other way at the consent than to authenticate; with ``needs_proof`` it wants
    its tokens bound to a key.
    """

    client_id: str
    client_name: str
    client_host: str | None
    redirect_uri: str
    upstream: str
    resource: str
    scope: str
    challenge: str
    needs_authentication: bool = False
    needs_proof: bool = False


@dataclass(frozen=True)
class GrantLabels:
    """The labels of a grant in a list. ``host`` is empty if the client's name is only claimed.

    ``client_id`` is shortened by `sessions_kms.about.short_client_id`. ``wanted`` are scopes that
    an MCP server demanded when the client called it. ``asserted_by`` is the provider whose
    assertion the grant came with; empty if the person allowed it.
    """

    client: str
    client_id: str
    host: str
    upstream: str
    redirect_host: str
    provider: str
    wanted: tuple[str, ...] = ()
    asserted_by: str = ""

    @property
    def asserted_entry(self) -> AssertedEntry:
        """What grants with assertions share an entry by: a client's name may change meanwhile."""
        return self.client_id, self.upstream, self.asserted_by

    @classmethod
    def from_labels(cls, words: Mapping[str, str]) -> "GrantLabels | None":
        """Return the labels of a grant's session metadata; None for other sessions."""
        if about.CLIENT not in words:
            return None
        return cls(
            client=words[about.CLIENT],
            client_id=words.get(about.CLIENT_ID, ""),
            host=words.get(HOST_LABEL, ""),
            upstream=words.get(UPSTREAM, ""),
            redirect_host=words.get(REDIRECT, ""),
            provider=words.get(PROVIDER, ""),
            wanted=tuple(" ".join(words.get(name, "") for name in WANTED).split()),
            asserted_by=words.get(ASSERTED_BY, ""),
        )


def describe_app(
    client_name: str, client_host: str | None, redirect_uri: str, upstream: str
) -> GrantLabels:
    """Return the labels by which an app is recognized before it has a grant."""
    return GrantLabels(
        client=client_name[:LABEL_MAX],
        client_id="",
        host=_shorten_host(client_host or ""),
        upstream=upstream[:LABEL_MAX],
        redirect_host=_shorten_host(_redirect_host(redirect_uri)),
        provider="",
    )


def make_labels(consent: Consent, provider: str) -> dict[str, str]:
    """Return the session metadata of a grant."""
    words = {
        about.CLIENT: consent.client_name[:LABEL_MAX],
        about.CLIENT_ID: about.short_client_id(consent.client_id),
        HOST_LABEL: _shorten_host(consent.client_host or ""),
        UPSTREAM: consent.upstream[:LABEL_MAX],
        REDIRECT: _shorten_host(_redirect_host(consent.redirect_uri)),
        PROVIDER: provider[:LABEL_MAX],
    }
    return {name: word for name, word in words.items() if word}


def make_asserted_labels(
    *, client_id: str, client_name: str, client_host: str | None, upstream: str, provider: str
) -> dict[str, str]:
    """Return the session metadata of a grant that came with a provider's assertion.

    Its provider is under another name than that of a consent: the grant holds no token there.
    """
    words = {
        about.CLIENT: client_name[:LABEL_MAX],
        about.CLIENT_ID: about.short_client_id(client_id),
        HOST_LABEL: _shorten_host(client_host or ""),
        UPSTREAM: upstream[:LABEL_MAX],
        ASSERTED_BY: provider[:LABEL_MAX],
    }
    return {name: word for name, word in words.items() if word}


def _redirect_host(redirect_uri: str) -> str:
    """Return the host that a client is redirected to, or the private scheme of an app."""
    parts = urlsplit(redirect_uri)
    return (parts.hostname or "") if parts.scheme in {"http", "https"} else f"{parts.scheme}:"


def _shorten_host(host: str) -> str:
    return host if len(host) <= LABEL_MAX else "…" + host[1 - LABEL_MAX :]
