"""The addresses of the gateway.

Staff sign in as everybody does; the command `staff` makes somebody staff, by the account that
they sign in with.
"""

from allauth.account.decorators import secure_admin_login
from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django.views.generic import RedirectView
from django.views.i18n import set_language

from gateway_site.forwarding.calls.admission import index_page, not_asgi
from gateway_site.identity.jwks import key_set
from gateway_site.pages.connections import DisconnectView
from gateway_site.pages.home import home, sign_in_page, site_logo
from gateway_site.pages.sessions import end_one, end_others, sessions
from gateway_site.pages.upstreams import continue_to_call, try_upstream
from oauth.backchannel import backchannel_logout
from oauth.clients.server import KEYS_PATH

admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]  # as allauth documents
admin.site.site_header = admin.site.site_title = format_lazy(
    _("{site} administration"), site=settings.SITE_NAME
)
admin.site.site_url = None  # its header links to the pages by name (`admin/base_site.html`)

urlpatterns = [
    # The ASGI application serves both itself. Django's test client gets these views.
    path("gateway/<path:path>", not_asgi),
    path("gateway/", index_page, name="gateway"),
    path("", home, name="home"),
    path("home/", home, name="home_of_apps"),  # where an app owns "/"
    path("sessions/", sessions, name="sessions"),
    path("sessions/end/", end_one, name="end_session"),
    path("sessions/end-others/", end_others, name="end_other_sessions"),
    path("try/<str:name>/", try_upstream, name="try_upstream"),
    path("continue/", continue_to_call, name="onward"),
    path("accounts/3rdparty/", DisconnectView.as_view(), name="socialaccount_connections"),
    # allauth's sign-up form, to which nothing leads: it would tell what is taken.
    path("accounts/3rdparty/signup/", RedirectView.as_view(pattern_name="account_login")),
    path("accounts/login/", sign_in_page, name="account_login"),
    path("site-logo", site_logo, name="site_logo"),
    path("language/", set_language, name="set_language"),  # redirects to this origin only
    path("accounts/", include("oauth.urls")),  # before allauth's, whose callbacks drop the tokens
    path("accounts/", include("allauth.urls")),
    path(
        "oauth/backchannel-logout/<str:provider_id>", backchannel_logout, name="backchannel_logout"
    ),
    path(KEYS_PATH, key_set),
    # Nothing of it is loaded, or answers, unless it is switched on.
    *(
        [path("", include("gateway_site.pages.apps")), path("", include("oauth.clients.urls"))]
        if settings.AUTHORIZATION_SERVER
        else []
    ),
    *([path("", include("oauth.mcp.urls"))] if settings.OAUTH_MCP_CLIENT["documents"] else []),
    path("admin/", admin.site.urls),
]

handler400 = "gateway_site.outages.bad_request"
handler500 = "gateway_site.outages.server_error"
