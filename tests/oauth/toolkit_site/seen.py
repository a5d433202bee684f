"""Counts the refresh requests to the site."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse

refreshes: list[int] = []  # the status of each response


def count_refreshes(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[..., HttpResponse]:
    def respond(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if request.POST.get("grant_type") == "refresh_token":
            refreshes.append(response.status_code)
        return response

    return respond


def seen(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"refreshes": refreshes})
