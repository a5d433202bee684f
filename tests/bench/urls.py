"""The gateway's URLs, and two views that only use the session."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path

from gateway_site.urls import urlpatterns as gateway


def read(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(request.session.get("n", 0)))


def modify(request: HttpRequest) -> HttpResponse:
    request.session["n"] = request.session.get("n", 0) + 1
    return HttpResponse("")


urlpatterns = [path("bench/read", read), path("bench/modify", modify), *gateway]
