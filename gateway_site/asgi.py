"""The ASGI application; static files are served in front of it, without a middleware."""

import os

import django

from gateway_site import installation
from gateway_site.server import reporting_failed_start
from gateway_site.server.exporters import start_exporter

installation.require_own_oauth()
installation.name_program()

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_site.settings")
with reporting_failed_start():
    start_exporter(os.environ)
    django.setup(set_prefix=False)

    # After the settings are configured, as all here needs.
    from django.conf import settings

    from gateway_site.edge import access_log, oauth_errors, trusted_proxies
    from gateway_site.edge.static_files import serve_static_files
    from gateway_site.forwarding.asgi import gateway
    from gateway_site.forwarding.prepared_pages import prepared_pages
    from gateway_site.server import lifespan, rejections, start_checks

    start_checks.require_variables()
    django_application = gateway()
    rejections.pages.use(prepared_pages().rejection)
    site = serve_static_files(
        django_application, root=settings.STATIC_ROOT, prefix=settings.STATIC_URL
    )
    checked = oauth_errors.asgi(rejections.asgi(site))
    application = lifespan.asgi(trusted_proxies.asgi(access_log.asgi(checked)))
