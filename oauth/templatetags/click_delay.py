"""`{% click_delay %}`, in a form that must not be submitted by a click meant for another page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import template
from django.utils.safestring import SafeString

from oauth.sign_in.click_delay import fields

register = template.Library()


@register.simple_tag(takes_context=True)
def click_delay(context: Mapping[str, Any]) -> SafeString:
    """Return the field with the time, and the script that keeps the form's buttons waiting."""
    return fields(context["request"])
