"""The gateway's addresses, and those of its authorization server: what all tests have.

With addresses of its own, each test would have Django compile all of them again.
"""

from django.urls import include, path

from gateway_site import urls
from oauth.clients.endpoints import approval  # noqa: F401 - connects, as it does where it is on

urlpatterns = [
    *urls.urlpatterns,
    path("", include("gateway_site.pages.apps")),
    path("", include("oauth.clients.urls")),
]
handler400, handler500 = urls.handler400, urls.handler500
