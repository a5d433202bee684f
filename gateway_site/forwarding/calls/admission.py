"""Which calls are admitted: every rule that needs no upstream, no session store and no database.

`calls` takes these steps in order.
"""

from typing import Any, cast

from allauth.account.utils import user_display
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.middleware.csrf import get_token
from django.urls import reverse

from gateway_site.forwarding.calls.caller import Caller
from gateway_site.forwarding.calls.upstream_call import UpstreamCall
from gateway_site.forwarding.calls.user_cache import user_cache
from gateway_site.rules import origin, url_rules
from gateway_site.rules.body import framing
from gateway_site.rules.opened_address import continue_url
from gateway_site.rules.problems import Problem, signed_out, unavailable
from gateway_site.rules.upstream import Upstream
from gateway_site.transport.pool import Owner
from oauth import account_of_sign_in, groups_of, sign_in_url
from oauth.sign_in.session_user import is_behind
from sessions_kms import SessionStore, id_of
from sessions_kms.services import services


def not_asgi(request: HttpRequest, path: str = "") -> HttpResponse:
    """Respond to a call through Django's test client, which reaches no upstream."""
    detail = "The gateway forwards only under its own ASGI application."
    return Problem(501, "not_asgi", detail).response()


def index_page(request: HttpRequest) -> HttpResponse:
    """Return the index to Django's test client; `calls` does so for the ASGI application."""
    try:
        origin.check_origin(request)
        check_index_method(request)
        if user_cache().active_user_id(request) is None:
            return signed_out_response(request, Caller(request.session))
        return index(request, cast("AbstractBaseUser", request.user))
    except Problem as problem:
        return problem.response()


def check_index_method(request: HttpRequest) -> None:
    """Raise Problem unless it is safe."""
    if request.method not in {"GET", "HEAD"}:
        raise Problem(
            405, "method_not_allowed", "Only GET is allowed here.", headers={"Allow": "GET, HEAD"}
        )


def index(request: HttpRequest, user: AbstractBaseUser) -> HttpResponse:
    """Return who is signed in until when, the CSRF token, and the upstreams that they may call.

    With the token, its header and the session cookie a client that is not a browser can make unsafe
    calls; over https it must also send the gateway's address in `Origin`.
    """
    document = {
        "csrf_header": "X-CSRFToken",
        "csrf_token": get_token(request),
        "upstreams": [each.name for each in callable_upstreams(request)],
        "user": _describe_user(request.session, user),
        "session": _describe_session(cast("SessionStore", request.session)),
        "home_url": reverse("home_of_apps"),
        "sign_out_url": reverse("account_logout"),
    }
    return JsonResponse(document, headers={"Cache-Control": "no-store"})


def _describe_user(session: SessionBase, user: AbstractBaseUser) -> dict[str, str | None]:
    """Return the user, by the account with which the session began; null for what is not known."""
    provider, subject = account_of_sign_in(session) or (None, None)
    return {
        "id": None if provider is None else f"{provider}|{subject}",
        "name": user_display(user),
        "email": getattr(user, "email", None) or None,
        "provider": provider,
    }


def _describe_session(session: SessionStore) -> dict[str, int | None]:
    """Return in how many seconds the session ends at the latest, and without another visit."""
    now, absolute = services().clock(), services().config.absolute_timeout
    created, ends = session.created(), session.ends_at()
    end = None if created is None or absolute is None else created + absolute
    return {
        "expires_in": None if end is None else max(0, int(end - now)),
        "idle_expires_in": None if ends is None else max(0, int(ends - now)),
    }


def admit(
    request: HttpRequest,
    caller: Caller,
    scope: dict[str, Any],
    user_id: str,
    address: tuple[str, str],
) -> UpstreamCall:
    """Return the call of a user at an address, as `split_address` returns it. Raises Problem."""
    name, rest = address
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
    return UpstreamCall(
        request=request,
        caller=caller,
        owner=_owner(caller, user_id),
        upstream=upstream,
        method=method,
        target=target,
        headers=list(scope["headers"]),
        framing=framing(scope, upstream.max_body),
        script_name=_script_name(scope),
    )


def callable_upstreams(request: HttpRequest) -> list[Upstream]:
    """Return the upstreams that the person's groups may call, by name."""
    return [
        upstream
        for _, upstream in sorted(settings.UPSTREAMS.items())
        if not upstream.allowed_groups
        or upstream.allows(groups_of(request.session, upstream.provider))
    ]


def _owner(caller: Caller, user_id: str) -> Owner:
    """Return the owner of the connections that the call may use: this session and person."""
    __traceback_hide__ = True
    key = caller.session.session_key
    if key is None:
        raise signed_out()
    return Owner(id_of(key), user_id)


def split_address(scope: dict[str, Any]) -> tuple[str, str]:
    """Return upstream and rest of a call's raw path. Raises Problem."""
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


def signed_out_response(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Redirect a person to the sign-in page. Raises Problem for a program."""
    # Browsers treat a redirect after a sign-in elsewhere as cross-site, so a page of ours follows
    # it.
    if origin.is_navigation(request):
        sign_in = sign_in_url(continue_url(getattr(request, "scope", {})))
        return HttpResponseRedirect(sign_in, headers={"Cache-Control": "no-store"})
    if caller.grant is not None and is_behind(request):
        # A 401 would make programs discard their tokens.
        raise unavailable("key_missing", "This cannot be verified at the moment. Try again.")
    raise signed_out()
