"""The site's name and logo in templates; error pages have no request, so these need none."""

from django import template
from django.conf import settings
from django.templatetags.static import static
from django.urls import reverse

register = template.Library()


@register.simple_tag
def site_name() -> str:
    """Return what the site is called."""
    return str(settings.SITE_NAME)


@register.simple_tag
def site_logo() -> str:
    """Return the address of the site's logo."""
    if settings.SITE_LOGO is None:
        return static("gateway.svg")
    return str(settings.SITE_LOGO.url) or reverse("site_logo")
