"""A project that, unlike the gateway, asks new people for a name and an address: its URLs."""

from allauth.socialaccount import views
from django.urls import path

from gateway_site.urls import urlpatterns as project

urlpatterns = [
    path("accounts/3rdparty/signup/", views.signup, name="socialaccount_signup"),
    *project,
]
