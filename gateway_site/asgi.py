"""The ASGI application; static files are served in front of it, without a middleware."""

import os

import django

from gateway_site import installation

installation.require_own_oauth()
installation.name_program()

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_site.settings")
django.setup(set_prefix=False)

from django.conf import settings  # noqa: E402 - they are configured above, as all here needs

from gateway_site.edge import access_log, oauth_errors, trusted_proxies  # noqa: E402 - as above
from gateway_site.edge.static_files import serve_static_files  # noqa: E402 - as above
from gateway_site.environment.database import require_database  # noqa: E402 - as above
from gateway_site.forwarding.handler import gateway  # noqa: E402 - as above
from gateway_site.server import lifespan, rejections  # noqa: E402 - as above

require_database(settings.DATABASES)
django_application = gateway()
site = serve_static_files(django_application, root=settings.STATIC_ROOT, prefix=settings.STATIC_URL)
checked = oauth_errors.asgi(rejections.asgi(site))
application = lifespan.asgi(trusted_proxies.asgi(access_log.asgi(checked)))
