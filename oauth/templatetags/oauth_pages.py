"""`{% moment %}`, and `{% click_delay %}` for a form that must not be submitted by mistake.

A moment is a time, and how far away it is. Without JavaScript the time is in UTC; `gateway.js`
shows it in the visitor's time zone. The delay is against clicks that were meant for another page.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django import template
from django.utils.dateformat import format as formatted
from django.utils.html import format_html
from django.utils.safestring import SafeString

from oauth.sign_in.click_delay import fields

register = template.Library()

# Seconds of each, and of half of the one below: 23 hours and 40 minutes are a day.
UNITS = (("day", 86_400, 1800), ("hour", 3600, 30), ("minute", 60, 0))


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
