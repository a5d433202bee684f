"""The WSGI application, for servers without ASGI; static files are then another server's."""

import os

from django.core.wsgi import get_wsgi_application

from gateway_site import installation

installation.require_own_oauth()
installation.name_program()

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_site.settings")
site = get_wsgi_application()

from django.conf import settings  # noqa: E402 - Django is set up above

from gateway_site.environment.database import require_database  # noqa: E402 - as above
from gateway_site.forwarding.request import WSGIRequest  # noqa: E402 - as above
from gateway_site.server import log_queue, rejections  # noqa: E402 - as above

log_queue.start()
require_database(settings.DATABASES)
site.request_class = WSGIRequest
application = rejections.wsgi(site)
