"""How lists describe a session: browser, system and the provider of the sign-in.

The texts are fixed and contain nothing from the visitor. A row says "Firefox on Windows": no
version, no model, nothing that identifies anybody. A library for all devices would run a thousand
patterns over untrusted input; a few plain words, searched in order, are enough here.
https://developer.mozilla.org/en-US/docs/Web/HTTP/Guides/Browser_detection_using_the_user_agent
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from allauth.account.signals import user_logged_in
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils.translation import gettext as _

from oauth.provider.config import find_provider
from sessions_kms import about

if TYPE_CHECKING:  # a model: this is imported before all apps are ready
    from allauth.socialaccount.models import SocialLogin

BROWSER, SYSTEM, PROVIDER = "browser", "system", "provider"
LENGTH_MAX: Final = 512  # characters that are searched

# Each browser also sends later words: Edge claims to be Chrome, and Chrome to be Safari.
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
    ("Chrome/", "Chrome"),  # Brave and Chromium do not name themselves
    ("Safari/", "Safari"),
)
# iPhones claim to be like a Mac, and Android to be Linux.
SYSTEMS: Final = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Macintosh", "macOS"),  # also iPads that request desktop pages
    ("Linux", "Linux"),
)
MOBILE: Final = frozenset({"iPhone", "iPad", "Android"})


@dataclass(frozen=True)
class SignInLabel:
    """How a person signed in, for lists; unknown parts are empty."""

    browser: str = ""
    system: str = ""
    provider: str = ""

    @property
    def device(self) -> str:
        """The browser and the system, in the page's language, which lists are read before."""
        if self.browser and self.system:
            text = _("%(browser)s on %(system)s")
            return text % {"browser": self.browser, "system": self.system}
        return self.browser or self.system

    @property
    def is_mobile(self) -> bool:
        """Whether the system is that of a phone or a tablet."""
        return self.system in MOBILE

    @classmethod
    def from_metadata(cls, words: Mapping[str, str]) -> "SignInLabel":
        """Create the label from a session's metadata."""
        name = words.get(PROVIDER, "")
        configured = find_provider(name)
        label = configured.label if configured else name
        return cls(words.get(BROWSER, ""), words.get(SYSTEM, ""), label)


@receiver(user_logged_in, dispatch_uid="gateway_site.about")
def label_session(request: HttpRequest, sociallogin: "SocialLogin | None" = None, **_: Any) -> None:
    """Store in the new session how the person signed in."""
    user_agent = request.headers.get("User-Agent", "")
    words = {
        BROWSER: find_family(BROWSERS, user_agent),
        SYSTEM: find_family(SYSTEMS, user_agent),
        PROVIDER: sociallogin.account.provider if sociallogin else None,
    }
    request.session[about.ABOUT] = {name: word for name, word in words.items() if word}


def find_family(known: tuple[tuple[str, str], ...], user_agent: str) -> str | None:
    """Return the family of a browser or of a system, or None."""
    searched = user_agent[:LENGTH_MAX]
    return next((family for word, family in known if word in searched), None)
