"""A Django site with a view that reads the session, under uvicorn.

    python -m tests.bench.site ENGINE VIEW

The engine is a module, or "none"; the view is "sync" or "async", and so are the middlewares. It
prints the cookie of a stored session at the start.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import path

from tests.bench.content import KB, content
from tests.bench.django_site import set_up_child
from tests.support.production.uvicorn_server import serve

NONE = "none"


RESPONSE = {"Content-Length": "2"}


def read(request: HttpRequest) -> HttpResponse:
    if request.session.get("n") is None:
        raise LookupError("The session was not found.")
    return HttpResponse("ok", headers=RESPONSE)


async def aread(request: HttpRequest) -> HttpResponse:
    if await request.session.aget("n") is None:
        raise LookupError("The session was not found.")
    return HttpResponse("ok", headers=RESPONSE)


def nothing(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok", headers=RESPONSE)


async def anothing(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok", headers=RESPONSE)


VIEWS: dict[tuple[str, bool], Any] = {
    ("sync", True): read,
    ("async", True): aread,
    ("sync", False): nothing,
    ("async", False): anothing,
}
urlpatterns = [path(f"{kind}-{reads}", view) for (kind, reads), view in VIEWS.items()]


def main(engine: str, kind: str) -> None:
    more: dict[str, Any] = {"ROOT_URLCONF": __name__, "MIDDLEWARE": []}
    if engine != NONE:
        more["SESSION_ENGINE"] = engine
        more["MIDDLEWARE"] = ["django.contrib.sessions.middleware.SessionMiddleware"]
    set_up_child(**more)
    from django.core.asgi import get_asgi_application

    cookie = "" if engine == NONE else f"sessionid={_store_session(engine)}"
    serve(get_asgi_application(), cookie=cookie, path=f"{kind}-{engine != NONE}")


def _store_session(engine: str) -> str:
    session = import_module(engine).SessionStore(None)
    for name, value in content(1 * KB).items():
        session[name] = value
    session.save()
    return str(session.session_key)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
