"""A Django site with one view that reads the session, under uvicorn.

    python -m tests.bench.site ENGINE

The engine is a module, or "none". The cookie of a stored session is told at the start.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import path

from tests.bench.content import KB, content
from tests.bench.django_site import set_up_child
from tests.bench.uvicorn_server import serve

NONE = "none"


ANSWER = {"Content-Length": "2"}


def read(request: HttpRequest) -> HttpResponse:
    if request.session.get("n") is None:
        raise LookupError("The session was not found.")
    return HttpResponse("ok", headers=ANSWER)


def nothing(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok", headers=ANSWER)


urlpatterns = [path("read", read), path("nothing", nothing)]


def main(engine: str) -> None:
    more: dict[str, Any] = {"ROOT_URLCONF": __name__, "MIDDLEWARE": []}
    if engine != NONE:
        more["SESSION_ENGINE"] = engine
        more["MIDDLEWARE"] = ["django.contrib.sessions.middleware.SessionMiddleware"]
    set_up_child(**more)
    from django.core.asgi import get_asgi_application

    cookie = "" if engine == NONE else f"sessionid={_stored(engine)}"
    serve(get_asgi_application(), cookie=cookie, path="nothing" if engine == NONE else "read")


def _stored(engine: str) -> str:
    session = import_module(engine).SessionStore(None)
    for name, value in content(1 * KB).items():
        session[name] = value
    session.save()
    return str(session.session_key)


if __name__ == "__main__":
    main(sys.argv[1])
