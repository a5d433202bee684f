"""Addresses to include before `allauth.urls`, under the same prefix."""

from allauth.socialaccount import app_settings
from django.urls import path

from oauth.connect import views as connect_views
from oauth.logout import single_logout
from oauth.sign_in import views

_PREFIX = app_settings.OPENID_CONNECT_URL_PREFIX
_OPENID = f"{_PREFIX}/" if _PREFIX else ""

urlpatterns = [
    path("logout/", single_logout.sign_out, name="account_logout"),
    path("logout/done/", single_logout.signed_out, name="oauth_signed_out"),
    path("connect/<slug:provider_id>/", connect_views.connect, name="oauth_connect"),
    path(
        "connect/<slug:provider_id>/callback/",
        connect_views.callback,
        name="oauth_connect_callback",
    ),
    path(
        "connect/<slug:provider_id>/disconnect/",
        connect_views.disconnect,
        name="oauth_disconnect",
    ),
    path(f"{_OPENID}<str:provider_id>/login/", views.sign_in, name="openid_connect_login"),
    path(
        f"{_OPENID}<str:provider_id>/login/callback/",
        views.callback,
        name="openid_connect_callback",
    ),
    path("github/login/", views.sign_in, {"provider_id": "github"}, name="github_login"),
    path(
        "github/login/callback/", views.callback, {"provider_id": "github"}, name="github_callback"
    ),
]
