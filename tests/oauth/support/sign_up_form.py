"""The URLs of a project that, unlike the gateway, has a sign-up form."""

from allauth.socialaccount import views
from django.urls import path

from gateway_site.urls import urlpatterns as project

urlpatterns = [
    path("accounts/3rdparty/signup/", views.signup, name="socialaccount_signup"),
    *project,
]
