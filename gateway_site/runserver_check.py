"""A system check: `runserver` is ours, which streams, and not that of staticfiles."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, register
from django.core.management import get_commands


@register
def runserver_is_asgi(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse another app's `runserver`: over WSGI it holds event streams back, silently."""
    provider = get_commands()["runserver"]
    if provider == "gateway_site":
        return []
    return [
        Error(
            f"`manage.py runserver` is that of {provider}, which does not serve ASGI.",
            hint="Put gateway_site before django.contrib.staticfiles in INSTALLED_APPS.",
            id="gateway_site.E004",
        )
    ]
