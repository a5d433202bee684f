"""What lists say about a session: the browser, its system and the provider of the sign-in.

All words are ours, none are the visitor's. A row says "Firefox on Windows" and no more: no
version and no model, nothing that identifies anybody. A library that knows every device would run
a thousand patterns over what a stranger sends; here are some plain words, looked for in order.
https://developer.mozilla.org/en-US/docs/Web/HTTP/Guides/Browser_detection_using_the_user_agent
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from allauth.account.signals import user_logged_in
from django.dispatch import receiver
from django.http import HttpRequest

from oauth.provider.config import provider
from sessions_kms import about

if TYPE_CHECKING:  # a model: this is imported before all apps are ready
    from allauth.socialaccount.models import SocialLogin

BROWSER, SYSTEM, PROVIDER = "browser", "system", "provider"
LENGTH_MAX: Final = 512  # letters that are looked at

# Each names those after it, too: Edge says that it is Chrome, and Chrome that it is Safari.
BROWSERS: Final = (
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("OPT/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Vivaldi/", "Vivaldi"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),  # Brave and Chromium say no other name
    ("Safari/", "Safari"),
)
# Phones say that they are like a Mac, and Android that it is Linux.
SYSTEMS: Final = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Macintosh", "macOS"),  # iPads that ask for a desktop's pages say so, too
    ("Linux", "Linux"),
)


@dataclass(frozen=True)
class SignIn:
    """How somebody signed in, as a list shows it; what is not known is empty."""

    device: str = ""
    provider: str = ""

    @classmethod
    def told_by(cls, words: Mapping[str, str]) -> SignIn:
        """Read what a session tells."""
        browser, system = words.get(BROWSER, ""), words.get(SYSTEM, "")
        device = f"{browser} on {system}" if browser and system else browser or system
        name = words.get(PROVIDER, "")
        configured = provider(name)
        return cls(device, configured.label if configured else name)


@receiver(user_logged_in, dispatch_uid="gateway_site.about")
def tell(request: HttpRequest, sociallogin: SocialLogin | None = None, **_: Any) -> None:
    """Have the session of somebody who is now signed in tell how that came about."""
    user_agent = request.headers.get("User-Agent", "")
    words = {
        BROWSER: browser_of(user_agent),
        SYSTEM: system_of(user_agent),
        PROVIDER: sociallogin.account.provider if sociallogin else None,
    }
    request.session[about.ABOUT] = {name: word for name, word in words.items() if word}


def browser_of(user_agent: str) -> str | None:
    """Return the family of a browser; None for one that is not known."""
    return _first(BROWSERS, user_agent)


def system_of(user_agent: str) -> str | None:
    """Return the family of a system; None for one that is not known."""
    return _first(SYSTEMS, user_agent)


def _first(known: tuple[tuple[str, str], ...], user_agent: str) -> str | None:
    looked_at = user_agent[:LENGTH_MAX]
    return next((family for word, family in known if word in looked_at), None)
