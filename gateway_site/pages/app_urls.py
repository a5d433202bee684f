"""Addresses of the pages about connected apps, to include where clients are let in."""

from django.urls import path

from gateway_site.pages.apps import apps, end_all, end_one

urlpatterns = [
    path("apps/", apps, name="apps"),
    path("apps/end/", end_one, name="end_app"),
    path("apps/end-all/", end_all, name="end_apps"),
]
