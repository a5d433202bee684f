"""`{% moment %}`: a time that a page shows, and how far away it is.

Without JavaScript the time is in UTC; `gateway.js` shows it in the visitor's time zone.
"""

from __future__ import annotations

from datetime import UTC, datetime

from django import template
from django.utils.dateformat import format as formatted
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()

# Seconds of each, and of half of the one below: 23 hours and 40 minutes are a day.
UNITS = (("day", 86_400, 1800), ("hour", 3600, 30), ("minute", 60, 0))


@register.simple_tag
def moment(value: datetime) -> SafeString:
    """Return the time for machines and people, and beside it "in 3 days" or "2 hours ago"."""
    utc = value.astimezone(UTC)
    return format_html(
        '<time datetime="{}">{} UTC</time> <span class="distance">{}</span>',
        utc.isoformat(),
        formatted(utc, "j M Y, H:i"),
        distance(utc, datetime.now(UTC)),
    )


def distance(value: datetime, now: datetime) -> str:
    """Return how far a time is from the present one, in its largest unit, rounded."""
    seconds = abs((value - now).total_seconds())
    for name, size, half_below in UNITS:
        if seconds >= size - half_below:
            number = round(seconds / size)
            amount = f"{number} {name}" + ("s" if number > 1 else "")
            return f"{amount} ago" if value < now else f"in {amount}"
    return "now"
