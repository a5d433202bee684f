"""The gateway's URLs, and two views that show the session's content."""

from django.http import HttpRequest, JsonResponse
from django.urls import path

from gateway_site.urls import urlpatterns as gateway


def read(request: HttpRequest) -> JsonResponse:
    return JsonResponse(
        {"count": request.session.get("count", 0), "signed_in": request.user.is_authenticated}
    )


def modify(request: HttpRequest) -> JsonResponse:
    request.session["count"] = request.session.get("count", 0) + 1
    return read(request)


urlpatterns = [path("soak/read", read), path("soak/modify", modify), *gateway]
