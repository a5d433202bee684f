"""The WSGI application, for servers without ASGI; static files are then another server's."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_site.settings")
site = get_wsgi_application()

from gateway_site.forwarding.upstream_call import WSGIRequest  # noqa: E402 - Django is set up above
from gateway_site.server import rejections  # noqa: E402 - as above

site.request_class = WSGIRequest
application = rejections.wsgi(site)
