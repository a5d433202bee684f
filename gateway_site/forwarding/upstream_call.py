"""A request as this gateway makes it, and the call of an upstream that it becomes.

`UpstreamCall` is what the view admits and the proxy carries out. The functions at the end are what
differs for an OAuth client's call: which session a token opens is decided in `client_session`,
which is imported only where clients are allowed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.core.handlers import wsgi
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError
from django.utils.http import parse_header_parameters

from gateway_site.rules.headers import Headers
from gateway_site.rules.problems import Problem, unavailable
from gateway_site.rules.upstream import Upstream
from gateway_site.rules.url_rules import ROOT
from gateway_site.transport.pool import Owner
from oauth.clients.rules.resources import make_challenge
from sessions_kms import StoreUnavailable

# Attributes that refer back to the request: its user, and its messages.
SELF_REFERENCES = ("user", "auser", "_messages")
# Attributes of the body, raw and parsed, up to megabytes.
BODY_ATTRIBUTES = ("_body", "_post", "_files")
# What Django's header parser raises for parameters that it cannot decode (RFC 2231).
UNREADABLE_HEADER = (LookupError, TypeError, ValueError)


class UTF8FormsMixin(HttpRequest):
    """A request that accepts any `Content-Type`; an unreadable one counts as absent.

    Its forms are UTF-8, like the pages that contain them. Django would trust the charset, and
    answer an unknown or impossible one with a server error.
    """

    content_type: str | None
    content_params: dict[str, str] | None

    def _set_content_type_params(self, meta: Mapping[str, str]) -> None:
        try:
            kind, parameters = parse_header_parameters(meta.get("CONTENT_TYPE", ""))
        except UNREADABLE_HEADER:
            kind, parameters = "", {}
        self.content_type, self.content_params = kind, parameters

    def parse_file_upload(self, META: Mapping[str, Any], post_data: Any) -> Any:  # noqa: N803 - as Django
        """Parse a multipart form. Raises MultiPartParserError, which is a 400."""
        try:
            return super().parse_file_upload(META, post_data)
        except UNREADABLE_HEADER as error:
            raise MultiPartParserError("A part's header cannot be read.") from error


class WSGIRequest(UTF8FormsMixin, wsgi.WSGIRequest):
    """The same for servers without ASGI."""


class GatewayRequest(UTF8FormsMixin, ASGIRequest):
    """Remembers the host that was checked: several parts ask for it in every request."""

    _allowed: tuple[str | None, ...] | None = None

    def get_host(self) -> str:
        """Return the host. Raises DisallowedHost."""
        named = self.META.get("HTTP_HOST"), self.META.get("HTTP_X_FORWARDED_HOST")
        if named[0] is None or self._allowed is None or self._allowed[:2] != named:
            self._allowed = (*named, super().get_host())
        return str(self._allowed[2])


def release_request(request: HttpRequest) -> None:
    """Remove the body and self-references from a finished request.

    Otherwise it waits for the garbage collector, which runs rarely, with its session and tokens.
    Django's templates keep requests of pages, so anybody could fill the memory with what they send.
    """
    for name in SELF_REFERENCES + BODY_ATTRIBUTES:
        vars(request).pop(name, None)


@dataclass(kw_only=True, eq=False)
class UpstreamCall:
    """One admitted call of an upstream. `target` is the whole URL."""

    request: HttpRequest = field(repr=False)
    owner: Owner = field(repr=False)
    upstream: Upstream
    method: str
    target: str = field(repr=False)
    headers: Headers = field(repr=False)
    framing: Headers
    script_name: str = ""
    is_client: bool = False  # whether a client's token was sent with it

    @property
    def concurrency_key(self) -> object:
        """The key that open calls are counted under: a client's apart from its person's."""
        if not self.is_client:
            return self.upstream.name, self.owner.person
        return self.upstream.name, self.owner.person, self.owner.holder

    def release(self) -> None:
        """Drop the request with its session and tokens; safe to call again.

        A response may stream for an hour, and an aborted call may have none.
        """
        request = vars(self).pop("request", None)
        if request is not None:
            release_request(request)
        self.headers = []


class AdmittedResponse(HttpResponse):
    """An empty response: the call may be made, and its response gets this one's headers."""

    def __init__(self, call: UpstreamCall) -> None:
        # Set, or Django would look for it in the headers, which are empty.
        super().__init__(content_type=f"text/html; charset={settings.DEFAULT_CHARSET}")
        self.call = call

    def close_silently(self) -> None:
        """Do what `close` does, without sending request_finished."""
        closers: list[Callable[[], object]] = vars(self)["_resource_closers"]
        for close in closers:
            with suppress(Exception):
                close()
        closers.clear()
        self.closed = True


CLIENT_ATTRIBUTE = "_gateway_client"  # of a request
CHALLENGE = "WWW-Authenticate"
# Without the provider's tokens a grant is useless. Some clients ask for a new one only when their
# refresh token is rejected as well.
GRANT_ENDING_CODES = frozenset({"not_connected", "reauthentication_required"})


@dataclass(slots=True)
class ClientGrant:
    """Marks a request whose session was opened by a client's token.

    `end` ends the grant. `demand_scopes` keeps scopes that the MCP server of a name demanded, for
    the client's next consent; it returns False if that would not help.
    """

    end: Callable[[], Awaitable[None]] = field(repr=False)
    demand_scopes: Callable[[str, Sequence[str]], Awaitable[bool]] = field(repr=False)


def mark_client_request(request: HttpRequest, client: ClientGrant) -> None:
    """Mark a request as a client's."""
    setattr(request, CLIENT_ATTRIBUTE, client)


def client_grant_of(request: HttpRequest) -> ClientGrant | None:
    """Return the mark of a client's request, or None."""
    found: ClientGrant | None = getattr(request, CLIENT_ATTRIBUTE, None)
    return found


def split_client_path(path: str) -> tuple[str, str] | None:
    """Return upstream and rest of a path that clients may call; None for any other."""
    server = settings.AUTHORIZATION_SERVER
    if server is None or not path.startswith(ROOT):
        return None
    name, slash, rest = path.removeprefix(ROOT).partition("/")
    return (name, slash + rest) if name in server.upstreams else None


def client_challenge(path: str, *, invalid: bool) -> str | None:
    """Return the challenge that tells a client to get a token; None where no client may call."""
    server, found = settings.AUTHORIZATION_SERVER, split_client_path(path)
    if server is None or found is None:
        return None
    return make_challenge(server.issuer, *found, invalid=invalid)


async def settle_problem(call: UpstreamCall, problem: Problem) -> Problem:
    """Return the problem in the form for its caller; end a client's grant that has become useless.

    Otherwise the client would refresh its token, be rejected again, and be stuck.
    """
    client = client_grant_of(call.request)
    if client is not None and problem.code in GRANT_ENDING_CODES:
        try:
            await client.end()
        except StoreUnavailable:
            return unavailable(
                "store_unavailable", "The session store cannot be used at the moment."
            )
        problem = Problem(401, "grant_ended", "The provider requires a new sign-in.")
    if problem.status == 401 and client is not None:
        challenged = client_challenge(call.request.path_info, invalid=True)
        problem.headers |= {CHALLENGE: challenged} if challenged else {}
    return problem
