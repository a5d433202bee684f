"""Views that get a token and then fail, or also change the session."""

from django.http import HttpRequest, HttpResponse
from django.urls import path

import oauth


def failing(request: HttpRequest) -> HttpResponse:
    request.session["half"] = "done"
    oauth.get_token(request, "corp")
    raise RuntimeError("The view fails after the refresh.")


async def afailing(request: HttpRequest) -> HttpResponse:
    await request.session.aset("half", "done")
    await oauth.aget_token(request, "corp")
    return HttpResponse(status=502)


def changing(request: HttpRequest) -> HttpResponse:
    request.session["whole"] = "done"
    oauth.get_token(request, "corp")
    return HttpResponse()


urlpatterns = [
    path("failing/", failing),
    path("afailing/", afailing),
    path("changing/", changing),
]
