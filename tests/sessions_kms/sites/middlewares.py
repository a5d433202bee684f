"""Middlewares of other people that use the session: before the view, and after it."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

GetResponse = Callable[[HttpRequest], HttpResponseBase]


def reads_before(get_response: GetResponse) -> GetResponse:
    def middleware(request: HttpRequest) -> HttpResponseBase:
        request.session.get("name")
        return get_response(request)

    return middleware


def reads_after(get_response: GetResponse) -> GetResponse:
    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        request.session.get("name")
        return response

    return middleware


def reads_cookies(get_response: GetResponse) -> GetResponse:
    def middleware(request: HttpRequest) -> HttpResponseBase:
        request.COOKIES.get("name")
        request.headers.get("Cookie")
        return get_response(request)

    return middleware


class ReadsInProcessView:
    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *_: object) -> HttpResponse | None:
        request.session.get("name")
        return None


class ReadsInProcessTemplateResponse(ReadsInProcessView):
    def process_view(self, request: HttpRequest, *_: object) -> None:
        return None

    def process_template_response(
        self, request: HttpRequest, response: HttpResponse
    ) -> HttpResponse:
        request.session.get("name")
        return response
