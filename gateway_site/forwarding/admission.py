"""Which calls are admitted: every rule that needs no upstream, in a Django view.

A request enters after Django's own middleware (Host, scheme, session, CSRF). `AdmittedResponse`
leaves, whose call the ASGI handler then forwards, or another response.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.middleware.csrf import get_token
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from gateway_site.forwarding.middleware_run import without_io
from gateway_site.forwarding.upstream_call import AdmittedResponse, UpstreamCall, client_grant_of
from gateway_site.forwarding.user_cache import user_cache
from gateway_site.rules import origin, url_rules
from gateway_site.rules.body import framing
from gateway_site.rules.problems import Problem, signed_out, unavailable
from gateway_site.rules.upstream import Upstream
from gateway_site.transport.pool import Owner
from oauth import NEXT_URL_MAX, groups_of, sign_in_url
from oauth.sign_in.session_user import is_behind
from sessions_kms import id_of

CSRF_HEADER = "X-CSRFToken"
ORIGINAL_SCOPE = "gateway"  # the original ASGI scope, in the one that Django sees


View = Callable[..., HttpResponse]


def answers_problems(view: View) -> View:
    """Answer a Problem with its document."""

    @functools.wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except Problem as problem:
            return problem.response()

    return wrapper


@without_io
@answers_problems
def index(request: HttpRequest) -> HttpResponse:
    """Return the CSRF token, its header, and the upstreams that the signed-in person may call.

    With these and its session cookie a client that is not a browser can make unsafe calls; over
    https it must also send the gateway's address in `Origin`.
    """
    origin.check_origin(request)
    if request.method not in {"GET", "HEAD"}:
        raise Problem(
            405, "method_not_allowed", "Only GET is allowed here.", headers={"Allow": "GET, HEAD"}
        )
    if user_cache().active_user_id(request) is None:
        return _answer_signed_out(request)
    document = {
        "csrf_header": CSRF_HEADER,
        "csrf_token": get_token(request),
        "upstreams": [each.name for each in callable_upstreams(request)],
    }
    return JsonResponse(document, headers={"Cache-Control": "no-store"})


@without_io
@answers_problems
def admit(request: HttpRequest, path: str) -> HttpResponse:
    """Admit the call of an upstream. `path`, which Django has decoded, is not used."""
    scope = getattr(request, "scope", {}).get(ORIGINAL_SCOPE)
    if scope is None:
        raise Problem(501, "not_asgi", "The gateway forwards only under its own ASGI application.")
    origin.check_origin(request)
    name, rest = _split_address(scope)
    if (person := user_cache().active_user_id(request)) is None:
        return _answer_signed_out(request)
    upstream = settings.UPSTREAMS.get(name)
    if upstream is None:
        raise Problem(404, "unknown_upstream", "There is no upstream with this name.")
    target = _target(upstream, scope, rest)
    method: str = scope["method"]
    if method not in upstream.methods:
        raise Problem(
            405,
            "method_not_allowed",
            "This upstream does not accept this method.",
            headers={"Allow": ", ".join(sorted(upstream.methods))},
        )
    return AdmittedResponse(
        UpstreamCall(
            request=request,
            owner=_owner(request, person),
            upstream=upstream,
            method=method,
            target=target,
            headers=list(scope["headers"]),
            framing=framing(scope, upstream.max_body),
            script_name=_script_name(scope),
            is_client=client_grant_of(request) is not None,
        )
    )


def callable_upstreams(request: HttpRequest) -> list[Upstream]:
    """Return the upstreams that the person's groups may call, by name."""
    return [
        upstream
        for _, upstream in sorted(settings.UPSTREAMS.items())
        if not upstream.allowed_groups
        or upstream.allows(groups_of(request.session, upstream.provider))
    ]


def _owner(request: HttpRequest, person: str) -> Owner:
    """Return the owner of the connections that the call may use: this session and person."""
    __traceback_hide__ = True
    key = request.session.session_key
    if key is None:
        raise signed_out()
    return Owner(id_of(key), person)


def _split_address(scope: dict[str, Any]) -> tuple[str, str]:
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        raise Problem(501, "no_raw_path", "This ASGI server does not pass on the raw path.")
    path = raw.partition(b"?")[0].decode("latin-1")
    try:
        return url_rules.split_path(path.removeprefix(_script_name(scope)))
    except url_rules.UnsafeAddress as refused:
        raise Problem(400, "bad_path", str(refused)) from None


def _script_name(scope: dict[str, Any]) -> str:
    root_path: str = scope.get("root_path", "")
    return root_path.rstrip("/")


def _target(upstream: Upstream, scope: dict[str, Any], rest: str) -> str:
    if not url_rules.is_allowed(upstream, rest):
        raise Problem(404, "unknown_path", "This path is not offered by the gateway.")
    try:
        return url_rules.target_url(upstream, rest, scope.get("query_string", b""))
    except url_rules.UnsafeAddress as refused:
        raise Problem(400, "bad_query", str(refused)) from None


def _answer_signed_out(request: HttpRequest) -> HttpResponse:
    """Redirect a person to the sign-in page. Raises Problem for a program."""
    # Browsers treat a redirect after a sign-in elsewhere as cross-site, so a page of ours follows
    # it.
    if origin.is_navigation(request):
        scope = getattr(request, "scope", {})
        sign_in = sign_in_url(continue_url(scope.get(ORIGINAL_SCOPE, scope)))
        return HttpResponseRedirect(sign_in, headers={"Cache-Control": "no-store"})
    if client_grant_of(request) is not None and is_behind(request):
        # A 401 would make programs discard their tokens.
        raise unavailable("key_missing", "This cannot be verified at the moment. Try again.")
    raise signed_out()


ADDRESS_FIELD = "to"


def continue_url(scope: dict[str, Any]) -> str | None:
    """Return the address of the page that leads to a call after the sign-in, if it is usable."""
    query = b"?" + scope["query_string"] if scope.get("query_string") else b""
    call = ((scope.get("raw_path") or b"").partition(b"?")[0] + query).decode("latin-1")
    address = f"{reverse('onward')}?{urlencode({ADDRESS_FIELD: call})}"
    return address if is_call_address(call) and len(address) <= NEXT_URL_MAX else None


def is_call_address(address: str) -> bool:
    """Return True if an address is that of a call of an upstream here."""
    own = address.isascii() and url_has_allowed_host_and_scheme(address, allowed_hosts=None)
    return own and len(address) <= NEXT_URL_MAX and _is_call_path(address.partition("?")[0])


def _is_call_path(path: str) -> bool:
    """Return True if a path stays below the root: a browser would follow dot segments."""
    root = reverse("gateway")
    if not path.startswith(root):
        return False
    try:
        url_rules.split_path(url_rules.ROOT + path.removeprefix(root))
    except url_rules.UnsafeAddress:
        return path == root
    return True
