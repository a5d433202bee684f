"""`{% moment %}`, `{% ago %}`, `breakable`, and `{% click_delay %}` against mistaken clicks.

A moment is a time, and how far away it is; `ago` says only the latter, with the time as title.
Without JavaScript the time is in UTC; `gateway.js` shows it in the visitor's time zone. The delay
is against clicks that were meant for another page.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django import template
from django.utils.dateformat import format as formatted
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext, ngettext, pgettext

from oauth.sign_in.click_delay import fields

register = template.Library()

DAY, HOUR, MINUTE = 86_400, 3600, 60  # seconds
BREAKS = re.compile(r"(?<=[^/:]/)(?!/)|(?=[?&#])")


@register.simple_tag(takes_context=True)
def click_delay(context: Mapping[str, Any]) -> SafeString:
    """Return the field with the time, and the script that keeps the form's buttons waiting."""
    return fields(context["request"])


@register.simple_tag
def moment(value: datetime) -> SafeString:
    """Return the time for machines and people, and beside it "in 3 days" or "2 hours ago"."""
    utc = value.astimezone(UTC)
    return format_html(
        '<time datetime="{}">{} UTC</time> <span class="distance">{}</span>',
        utc.isoformat(),
        formatted(utc, pgettext("date and time, for the date filter of Django", "j M Y, H:i")),
        distance(utc, datetime.now(UTC)),
    )


@register.simple_tag
def ago(value: datetime) -> SafeString:
    """Return how far away a time is, with the time itself as the title."""
    utc = value.astimezone(UTC)
    return format_html(
        '<time datetime="{}" data-relative title="{} UTC">{}</time>',
        utc.isoformat(),
        formatted(utc, pgettext("date and time, for the date filter of Django", "j M Y, H:i")),
        distance(utc, datetime.now(UTC)),
    )


@register.filter
def breakable(address: str) -> SafeString:
    """Return an address that may be broken after its slashes and signs, without a visible mark."""
    parts = BREAKS.split(str(address))
    return format_html_join(mark_safe("<wbr>"), "{}", ((each,) for each in parts))


def distance(value: datetime, now: datetime) -> str:
    """Return how far a time is from the present one, in its largest unit, rounded."""
    seconds = abs((value - now).total_seconds())
    is_past = value < now
    # Half of the unit below counts as a whole one: 23 hours and 40 minutes are a day.
    if seconds >= DAY - HOUR / 2:
        number = round(seconds / DAY)
        past = ngettext("%(number)d day ago", "%(number)d days ago", number)
        future = ngettext("in %(number)d day", "in %(number)d days", number)
    elif seconds >= HOUR - MINUTE / 2:
        number = round(seconds / HOUR)
        past = ngettext("%(number)d hour ago", "%(number)d hours ago", number)
        future = ngettext("in %(number)d hour", "in %(number)d hours", number)
    elif seconds >= MINUTE:
        number = round(seconds / MINUTE)
        past = ngettext("%(number)d minute ago", "%(number)d minutes ago", number)
        future = ngettext("in %(number)d minute", "in %(number)d minutes", number)
    else:
        return gettext("now")
    return (past if is_past else future) % {"number": number}
