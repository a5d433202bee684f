"""Whether a project's middleware may be meant for calls, which do not pass through `MIDDLEWARE`."""

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

# Whose middleware has a step in `calls`, or is not meant for calls.
KNOWN_MIDDLEWARE = ("gateway_site.", "oauth.", "sessions_kms.", "django.", "csp.", "allauth.")


def unseen_middleware() -> list[str]:
    """Return the entries of `MIDDLEWARE` that may be meant for calls, which they do not see."""
    of_pages = getattr(settings, "MIDDLEWARE_OF_PAGES", ())
    return [
        name
        for name in settings.MIDDLEWARE
        if not name.startswith(KNOWN_MIDDLEWARE) and name not in of_pages
    ]


def check_middleware() -> None:
    """Raise ImproperlyConfigured if a project's middleware would let calls pass unseen."""
    if unseen := unseen_middleware():
        raise ImproperlyConfigured(
            f"MIDDLEWARE does not see the calls of upstreams, so the gateway does not start with "
            f"{', '.join(unseen)}. Name the entries that concern pages only in "
            "MIDDLEWARE_OF_PAGES. Put anything else around gateway_site.asgi.application as ASGI "
            "middleware."
        )
