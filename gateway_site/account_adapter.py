"""allauth's account adapter: where a sign-in may redirect to."""

from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from django.conf import settings
from django.utils.http import url_has_allowed_host_and_scheme


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """Allows redirects to this origin, and to those in `CSRF_TRUSTED_ORIGINS`."""

    def is_safe_url(self, url: str) -> bool:
        """Return True if a sign-in may redirect there.

        allauth allows every host in ALLOWED_HOSTS, and with `.example.com` every sibling site.
        """
        trusted = {urlsplit(origin).netloc for origin in settings.CSRF_TRUSTED_ORIGINS}
        return url_has_allowed_host_and_scheme(
            url,
            allowed_hosts={context.request.get_host(), *trusted},
            require_https=context.request.is_secure(),
        )
