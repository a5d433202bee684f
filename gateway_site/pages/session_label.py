"""What a session tells of itself in lists: by which browser and provider somebody signed in.

A sign-in enters; a few words of ours leave, none of which a visitor wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from allauth.account.signals import user_logged_in
from django.dispatch import receiver
from django.http import HttpRequest

from gateway_site.pages.user_agents import browser_of, system_of
from oauth.provider.config import provider
from sessions_kms import about

if TYPE_CHECKING:  # a model: this is imported before all apps are ready
    from allauth.socialaccount.models import SocialLogin

BROWSER, SYSTEM, PROVIDER = "browser", "system", "provider"


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
