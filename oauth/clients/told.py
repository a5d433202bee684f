"""What lists show of a grant: the client's name, and where it leads. A consent enters, words leave.

Words are bounded (`sessions_kms.about`); of a host its end counts, which says whose it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from oauth.clients.consent import Consent
from sessions_kms import about

LETTERS_MAX = 100
HOST, UPSTREAM, REDIRECT, PROVIDER = "client_host", "upstream", "redirect_host", "provider"


@dataclass(frozen=True)
class ToldGrant:
    """One grant in a list. ``host`` is empty where the client's name is only claimed.

    ``client_id`` is as `sessions_kms.about.short_client_id` has it.
    """

    client: str
    client_id: str
    host: str
    upstream: str
    redirect_host: str
    provider: str

    @classmethod
    def in_words(cls, words: Mapping[str, str]) -> ToldGrant | None:
        """Read what a session tells of itself; None where it is no grant's."""
        if about.CLIENT not in words:
            return None
        names = (about.CLIENT, about.CLIENT_ID, HOST, UPSTREAM, REDIRECT, PROVIDER)
        return cls(*(words.get(name, "") for name in names))


def words_of(consent: Consent, provider: str) -> dict[str, str]:
    """Return what the session of a grant tells of itself."""
    words = {
        about.CLIENT: consent.client_name[:LETTERS_MAX],
        about.CLIENT_ID: about.short_client_id(consent.client_id),
        HOST: _ending(consent.client_host or ""),
        UPSTREAM: consent.upstream[:LETTERS_MAX],
        REDIRECT: _ending(_place_of(consent.redirect_uri)),
        PROVIDER: provider[:LETTERS_MAX],
    }
    return {name: word for name, word in words.items() if word}


def _place_of(redirect_uri: str) -> str:
    """Return the host that a client is redirected to, or the private scheme of an app."""
    parts = urlsplit(redirect_uri)
    return (parts.hostname or "") if parts.scheme in {"http", "https"} else f"{parts.scheme}:"


def _ending(host: str) -> str:
    return host if len(host) <= LETTERS_MAX else "…" + host[1 - LETTERS_MAX :]
