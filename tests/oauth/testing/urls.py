"""A view as projects write it: it calls an API with the token of the signed-in person."""

import requests
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path

from oauth import OAuthError, get_token

API = "API"  # the setting that a test makes


def repositories(request: HttpRequest) -> HttpResponse:
    try:
        token = get_token(request, request.GET["provider"])
    except OAuthError as exc:
        return HttpResponse(type(exc).__name__, status=502)
    api: str = getattr(settings, API)
    headers = {"Authorization": f"Bearer {token.access_token}"}
    response = requests.post(api, data=b"asked", headers=headers, timeout=10)
    return HttpResponse(response.content, status=response.status_code)


urlpatterns = [path("repositories", repositories)]
