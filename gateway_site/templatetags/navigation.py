"""The pages that every page links to. Error pages have no request, so this needs none."""

from __future__ import annotations

from dataclasses import dataclass

from django import template
from django.urls import NoReverseMatch, reverse

register = template.Library()

PAGES = (("Connections", "home"), ("Sessions", "sessions"), ("Apps", "apps"))
OF_STAFF = (("Administration", "admin:index"),)


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
        found.append(SitePage(label, address, address == path))
    return found
