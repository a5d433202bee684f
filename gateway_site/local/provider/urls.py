"""Sign-in, sign-out and OpenID Connect; no sign-up, no reset, no device flow."""

from allauth.account import views as account
from django.urls import include, path
from django.views.generic import TemplateView

from gateway_site.local.provider.views import authorize, login, static_file

urlpatterns = [
    path("", TemplateView.as_view(template_name="index.html"), name="index"),
    path("style.css", static_file, {"name": "gateway.css", "kind": "text/css"}, name="style"),
    path("logo.svg", static_file, {"name": "gateway.svg", "kind": "image/svg+xml"}, name="logo"),
    path("login/", login, name="account_login"),
    path("logout/", account.logout, name="account_logout"),
    path("reauthenticate/", account.reauthenticate, name="account_reauthenticate"),
    path("identity/o/authorize", authorize),  # ahead of allauth's own
    path("", include("allauth.idp.urls")),
]
