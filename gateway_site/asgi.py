"""The ASGI application; static files are served in front of it, without a middleware."""

import os
from wsgiref.headers import Headers

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_site.settings")
django_application = get_asgi_application()

from django.conf import settings  # noqa: E402  (settings are configured above)
from servestatic import ServeStaticASGI  # noqa: E402


def add_headers(headers: Headers, path: str, url: str) -> None:
    """Forbid guessing the type of a static file."""
    headers["X-Content-Type-Options"] = "nosniff"


application = (
    ServeStaticASGI(
        django_application,
        root=settings.STATIC_ROOT,
        prefix=settings.STATIC_URL,
        allow_all_origins=False,
        add_headers_function=add_headers,
    )
    if settings.STATIC_ROOT.is_dir()  # `collectstatic` has run
    else django_application
)
