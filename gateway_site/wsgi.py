"""The WSGI application, for servers without ASGI; static files are then another server's."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_site.settings")
application = get_wsgi_application()
