"""The WSGI application, for servers without ASGI; static files are then another server's."""

import os

from django.core.wsgi import get_wsgi_application

from gateway_site.server import door

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_site.settings")
application = door.wsgi(get_wsgi_application())
