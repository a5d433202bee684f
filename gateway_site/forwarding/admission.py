"""Who may make which call: every rule that needs no upstream, applied as in any Django view.

A request enters, after Django's own middleware (Host, scheme, session, CSRF); what leaves
is `Admitted`, which the ASGI handler then forwards, or another response.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.middleware.csrf import get_token

from gateway_site.forwarding import client_calls, onward_address
from gateway_site.forwarding.call import Admitted, Call
from gateway_site.forwarding.passage import without_io
from gateway_site.forwarding.people import people
from gateway_site.rules import body, origin, url_rules
from gateway_site.rules.problems import Problem, signed_out, unavailable
from gateway_site.rules.upstream import Upstream
from gateway_site.transport.connections import Owner
from oauth import sign_in_address, token_set_of
from oauth.sign_in.session_user import is_behind
from sessions_kms import id_of

CSRF_HEADER = "X-CSRFToken"
SCOPE = "gateway"  # the ASGI scope as it came, within the one that Django sees


View = Callable[..., HttpResponse]


def answering_problems(view: View) -> View:
    """Answer a Problem with its document."""

    @functools.wraps(view)
    def answering(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except Problem as problem:
            return problem.response()

    return answering


@without_io
@answering_problems
def index(request: HttpRequest) -> HttpResponse:
    """Tell a signed-in client the CSRF token, the header it goes in, and the upstreams.

    A client that is no browser gets with it, beside its session cookie, all it needs to
    make unsafe calls; over https it must name the gateway in `Origin` as well.
    """
    origin.check(request)
    if request.method not in {"GET", "HEAD"}:
        raise Problem(
            405, "method_not_allowed", "This address is for GET.", headers={"Allow": "GET, HEAD"}
        )
    if people().caller(request) is None:
        return _signed_out(request)
    document = {
        "csrf_header": CSRF_HEADER,
        "csrf_token": get_token(request),
        "upstreams": [each.name for each in callable_by(request)],
    }
    return JsonResponse(document, headers={"Cache-Control": "no-store"})


@without_io
@answering_problems
def admit(request: HttpRequest, path: str) -> HttpResponse:
    """Admit the call of an upstream. `path`, as Django decoded it, is not looked at."""
    scope = getattr(request, "scope", {}).get(SCOPE)
    if scope is None:
        raise Problem(501, "not_asgi", "The gateway forwards under its own ASGI application only.")
    origin.check(request)
    name, rest = _address(scope)
    if (person := people().caller(request)) is None:
        return _signed_out(request)
    upstream = settings.UPSTREAMS.get(name)
    if upstream is None:
        raise Problem(404, "unknown_upstream", "There is no upstream of this name.")
    target = _target(upstream, scope, rest)
    method: str = scope["method"]
    if method not in upstream.methods:
        allowed = {"Allow": ", ".join(sorted(upstream.methods))}
        raise Problem(405, "method_not_allowed", "This upstream does not take it.", headers=allowed)
    return Admitted(
        Call(
            request=request,
            owner=_owner(request, person),
            upstream=upstream,
            method=method,
            target=target,
            headers=list(scope["headers"]),
            framing=body.framing(scope, upstream.max_body),
            script_name=_script_name(scope),
        )
    )


def callable_by(request: HttpRequest) -> list[Upstream]:
    """Return the upstreams that the groups of the signed-in person let them call, by name."""
    return [
        upstream
        for _, upstream in sorted(settings.UPSTREAMS.items())
        if not upstream.allowed_groups or upstream.allows(_groups(request, upstream.provider))
    ]


def _groups(request: HttpRequest, provider: str) -> tuple[str, ...]:
    __traceback_hide__ = True
    held = token_set_of(request.session, provider)
    return () if held is None else held.groups


def _owner(request: HttpRequest, person: str) -> Owner:
    """Return whose connections the call may use: this session's, while it is this person's."""
    __traceback_hide__ = True
    key = request.session.session_key
    if key is None:
        raise signed_out()
    return Owner(id_of(key), person)


def _address(scope: dict[str, Any]) -> tuple[str, str]:
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        raise Problem(501, "no_raw_path", "This ASGI server does not tell the path as it came.")
    path = raw.partition(b"?")[0].decode("latin-1")
    try:
        return url_rules.split(path.removeprefix(_script_name(scope)))
    except url_rules.PathRefused as refused:
        raise Problem(400, "bad_path", str(refused)) from None


def _script_name(scope: dict[str, Any]) -> str:
    root_path: str = scope.get("root_path", "")
    return root_path.rstrip("/")


def _target(upstream: Upstream, scope: dict[str, Any], rest: str) -> str:
    if not url_rules.is_allowed(upstream, rest):
        raise Problem(404, "unknown_path", "This path is not offered by the gateway.")
    try:
        return url_rules.target(upstream, rest, scope.get("query_string", b""))
    except url_rules.PathRefused as refused:
        raise Problem(400, "bad_query", str(refused)) from None


def _signed_out(request: HttpRequest) -> HttpResponse:
    """Return the sign-in page's address for a person. Raises Problem for a program."""
    # Browsers call whatever follows a sign-in elsewhere cross-site: by a page of our own.
    if origin.is_navigation(request):
        scope = getattr(request, "scope", {})
        sign_in = sign_in_address(onward_address.of_call(scope.get(SCOPE, scope)))
        return HttpResponseRedirect(sign_in, headers={"Cache-Control": "no-store"})
    if client_calls.of(request) is not None and is_behind(request):
        # Programs give up their tokens at a 401.
        raise unavailable("key_missing", "This cannot be verified here at the moment. Try again.")
    raise signed_out()
