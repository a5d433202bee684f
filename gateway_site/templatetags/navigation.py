"""What every page links to: the site's pages, and itself in other languages.

Error pages have no request, so the former needs none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from django import template
from django.conf import settings
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.translation import get_language, gettext_noop
from django.utils.translation import gettext as _

register = template.Library()

PAGES = (
    (gettext_noop("Connections"), "home"),
    (gettext_noop("Sessions"), "sessions"),
    (gettext_noop("Apps"), "apps"),
)
OF_STAFF = ((gettext_noop("Administration"), "admin:index"),)
CALLBACK = "callback"  # suffix of the names of the pages to which providers redirect


@dataclass(frozen=True)
class SitePage:
    """A page of the navigation."""

    label: str
    address: str
    is_current: bool


@register.simple_tag
def site_pages(path: str = "", *, is_staff: bool = False) -> list[SitePage]:
    """Return the pages that exist on this site; ``path`` is that of the present one.

    Neither the session nor the database is read: the caller passes whether the user is staff.
    """
    found = []
    for label, name in (*PAGES, *(OF_STAFF if is_staff else ())):
        try:
            address = reverse(name)
        except NoReverseMatch:  # apps, where no client is let in
            continue
        found.append(SitePage(_(label), address, address == path))
    return found


@dataclass(frozen=True)
class Language:
    """A language of the site, with its own name for itself."""

    code: str
    name: str
    is_current: bool


@register.simple_tag
def language_switch(request: HttpRequest | Literal[""]) -> list[Language]:
    """Return the languages to choose from; none on a page that cannot be requested again."""
    if not request:
        return []
    match = request.resolver_match
    is_callback = match is not None and (match.url_name or "").endswith(CALLBACK)
    if request.method not in {"GET", "HEAD"} or is_callback or len(settings.LANGUAGES) == 1:
        return []
    return [Language(code, str(name), code == get_language()) for code, name in settings.LANGUAGES]


@register.simple_tag(takes_context=True)
def visitor_state(context: Mapping[str, Any]) -> str:
    """Return "session" for a visitor with a session cookie, "anonymous" for one without, or "".

    The latter is unknown: an error page may have no request. The session is not read for it.
    """
    request: HttpRequest | None = context.get("request") or None
    if request is not None:
        has_session: bool | None = settings.SESSION_COOKIE_NAME in request.COOKIES
    else:
        has_session = context.get("has_session")
    return {True: "session", False: "anonymous", None: ""}[has_session]
