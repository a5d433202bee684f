"""Fails: the gateway is served by ASGI only.

Calls run in an event loop, and a WSGI server would buffer event streams.
"""

from django.core.exceptions import ImproperlyConfigured

raise ImproperlyConfigured(
    "The gateway does not run under WSGI. Run `kms-gateway serve`, or serve"
    " gateway_site.asgi:application with an ASGI server."
)
