"""allauth's hook of accounts: where a sign-in may lead."""

from __future__ import annotations

from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from django.conf import settings
from django.utils.http import url_has_allowed_host_and_scheme


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """Leads to this origin, and to those that `CSRF_TRUSTED_ORIGINS` names one by one."""

    def is_safe_url(self, url: str) -> bool:
        """Tell whether a sign-in may lead there.

        allauth allows every host of ALLOWED_HOSTS, and with `.example.com` each sibling site.
        """
        trusted = {urlsplit(origin).netloc for origin in settings.CSRF_TRUSTED_ORIGINS}
        return url_has_allowed_host_and_scheme(
            url,
            allowed_hosts={context.request.get_host(), *trusted},
            require_https=context.request.is_secure(),
        )
