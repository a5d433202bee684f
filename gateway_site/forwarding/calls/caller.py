"""Who calls: a cookie or an OAuth client's token becomes the session, and the session its user.

`Authorization: Bearer gwa_…` selects the session of a grant, and so does `DPoP gwa_…` with a proof
of the key to which the token is bound (RFC 9449 section 7). Cookies are then ignored, none is set,
and no CSRF token is required, since no browser sends that header by itself. What opens tokens
(`oauth.clients`) is imported only where clients are allowed.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, cast

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.sessions.backends.base import SessionBase
from django.db import close_old_connections, reset_queries
from django.http import HttpRequest

from gateway_site.edge.client import Client
from gateway_site.forwarding.calls.user_cache import user_cache
from gateway_site.forwarding.request import never_called
from gateway_site.forwarding.thread_pools import THREADS, Permit, ThreadPool, UserSemaphores
from gateway_site.rules import problems
from gateway_site.rules.origin import is_navigation
from gateway_site.rules.problems import Problem, signed_out, unavailable
from gateway_site.rules.url_rules import ROOT
from oauth.clients.rules.errors import INVALID_TOKEN, GrantError
from oauth.clients.rules.resources import make_challenge
from oauth.sign_in.authentication import CACHED_USER, AuthenticationMiddleware
from sessions_kms import about, outages
from sessions_kms.concurrency.waits import BlockingCall
from sessions_kms.services import are_made, services

if TYPE_CHECKING:
    from oauth.clients.authentication.dpop_proof import RequestProof
    from oauth.clients.grants import OpenGrant

# RFC 6750 section 2.1, RFC 9449 section 7.1
CREDENTIALS = re.compile(r"(?P<scheme>bearer|dpop)(?: +(?P<token>.*))?", re.IGNORECASE)
CLIENT_SCHEMES = ("Bearer ", "DPoP ")  # in challenges for clients
CHALLENGE = "WWW-Authenticate"
# Queries of one person at the same time. Mostly the first one loads the person for all.
USER_QUERIES = THREADS // 4
_engine = cache(import_module)  # `import_module` takes locks, even for a loaded module


@dataclass(slots=True)
class ClientGrant:
    """The grant whose token came with a call: its client, its labels, and what can be done to it.

    `end` ends the grant. `demand_scopes` keeps scopes that the MCP server of a name demanded, for
    the client's next consent; it returns False if that would not help. `is_bound` says whether the
    token is bound to a key.
    """

    end: Callable[[], Awaitable[None]] = field(repr=False)
    demand_scopes: Callable[[str, Sequence[str]], Awaitable[bool]] = field(repr=False)
    client_id: str
    labels: about.Labels = field(default_factory=dict, repr=False)
    is_bound: bool = False


@dataclass(slots=True)
class Caller:
    """The session of a call, and the grant if an OAuth client's token selected it."""

    session: SessionBase = field(repr=False)
    grant: ClientGrant | None = None


async def find_caller(request: HttpRequest) -> Caller:
    """Return the caller by token or cookie, and set the session for Django's code.

    A cookie's session is read when it is first used. Raises Problem if nothing shows who calls a
    path for clients, and what `_find_client` raises.
    """
    __traceback_hide__ = True
    path, session_key = request.path_info, request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    caller = await _find_client(request, path)
    if caller is None:
        is_program = session_key is None and not is_navigation(request)
        if is_program and split_client_path(path) is not None:
            raise _no_credentials(path)
        caller = Caller(_engine(settings.SESSION_ENGINE).SessionStore(session_key))
    request.session = caller.session
    return caller


async def _find_client(request: HttpRequest, path: str) -> Caller | None:
    """Return the OAuth client whose token came with a call; None if none came.

    Raises Problem if the token opens no session for this upstream, and StoreUnavailable.
    """
    __traceback_hide__ = True
    found = split_client_path(path)
    sent = CREDENTIALS.fullmatch(request.META.get("HTTP_AUTHORIZATION", ""))
    if found is None or sent is None:
        return None
    from oauth.clients import wanted_scopes  # noqa: PLC0415 - only where clients are allowed
    from oauth.clients.grants import grants  # noqa: PLC0415 - only where clients are allowed

    if not are_made():
        await BlockingCall(services)
    token, is_dpop = sent["token"] or "", sent["scheme"].lower() == "dpop"
    opened = await _open_grant(request, found[0], token, is_dpop=is_dpop)
    session = opened.session
    grant = ClientGrant(
        end=partial(grants().end, session, access_token=token),
        demand_scopes=partial(wanted_scopes.demand_scopes, session),
        client_id=opened.client_id,
        labels=about.read_labels(session),
        is_bound=opened.is_bound,
    )
    return Caller(session, grant)


async def _open_grant(
    request: HttpRequest, upstream: str, token: str, *, is_dpop: bool
) -> "OpenGrant":
    """Return the grant of a token. Raises Problem, with the challenge of the token's scheme."""
    __traceback_hide__ = True
    from oauth.clients.grants import grants  # noqa: PLC0415 - only where clients are allowed

    proof = _read_proof(request) if is_dpop else None
    detail = "The access token is invalid, has expired, or is not for this upstream."
    error = INVALID_TOKEN
    try:
        opened = await grants().open(token, upstream=upstream, proof=proof)
        if opened is not None and _is_still_accepted(opened, upstream):
            return opened
    except GrantError as rejected:
        detail, error, is_dpop = str(rejected), rejected.code, True
    challenge = client_challenge(request.path_info, error=error, is_bound=is_dpop) or ""
    raise Problem(401, error, detail, headers={CHALLENGE: challenge})


def _is_still_accepted(opened: "OpenGrant", upstream: str) -> bool:
    """Return False for a grant that came with an assertion, and could come with none now.

    Other clients keep their tokens until the next refresh: this one would only come back.
    """
    from oauth.clients.id_jag.issuers import is_still_accepted  # noqa: PLC0415 - for clients

    server = settings.AUTHORIZATION_SERVER
    return not opened.is_asserted or (
        server is not None
        and is_still_accepted(
            server, opened.client_id, upstream, is_authenticated=opened.is_authenticated
        )
    )


def _read_proof(request: HttpRequest) -> "RequestProof":
    """Return the proof of a call; its URL is the public one, without query, as it was sent."""
    __traceback_hide__ = True
    from oauth.clients.authentication.dpop_proof import RequestProof  # noqa: PLC0415 - for clients

    server, scope = settings.AUTHORIZATION_SERVER, getattr(request, "scope", {})
    path = (scope.get("raw_path") or b"").partition(b"?")[0].decode("latin-1")
    return RequestProof(
        text=request.META.get("HTTP_DPOP", ""),
        method=request.method or "",
        url=f"{'' if server is None else server.issuer}{path}",
    )


def _no_credentials(path: str) -> Problem:
    """Return the challenge for a program without credentials; in an outage a 503.

    A sign-in would fail then. The Python SDK repeats a call without its token after a refresh was
    answered 503, and opens the browser at the challenge. A 503 makes it keep what it has.
    """
    if outages.is_at_hand():
        detail = "The session store cannot be used at the moment."
        return unavailable("store_unavailable", detail)
    if problems.database_outage.is_at_hand():
        detail = "The database cannot be used at the moment."
        return unavailable("database_unavailable", detail)
    problem = signed_out()
    problem.headers[CHALLENGE] = client_challenge(path) or ""
    return problem


def split_client_path(path: str) -> tuple[str, str] | None:
    """Return upstream and rest of a path that clients may call; None for any other."""
    server = settings.AUTHORIZATION_SERVER
    if server is None or not path.startswith(ROOT):
        return None
    name, slash, rest = path.removeprefix(ROOT).partition("/")
    return (name, slash + rest) if name in server.upstreams else None


def client_challenge(path: str, *, error: str = "", is_bound: bool = False) -> str | None:
    """Return the challenge that tells a client to get a token; None where no client may call.

    ``error`` says what was wrong with its token, ``is_bound`` that the token is bound to a key.
    """
    server, found = settings.AUTHORIZATION_SERVER, split_client_path(path)
    if server is None or found is None:
        return None
    if not is_bound:
        return make_challenge(server.issuer, *found, error=error)
    from oauth.clients.authentication.dpop_proof import PROOF_ALGORITHMS  # noqa: PLC0415 - for clients

    return make_challenge(server.issuer, *found, error=error, algorithms=PROOF_ALGORITHMS)


def grant_challenge(path: str, grant: ClientGrant | None) -> str | None:
    """Return the challenge for a call that was rejected after its caller was found."""
    if grant is None:
        return client_challenge(path)
    return client_challenge(path, error=INVALID_TOKEN, is_bound=grant.is_bound)


class ActiveUsers:
    """Finds the users of sessions: in the cache, or by Django in a thread."""

    def __init__(self) -> None:
        self._threads = ThreadPool("gateway-users", THREADS)
        self._queries = UserSemaphores(USER_QUERIES)
        self._authentication = AuthenticationMiddleware(never_called)

    async def find(self, request: HttpRequest, client: Client, permit: Permit) -> str | None:
        """Return the id of the active user of a request's session; None if nobody is signed in.

        `permit` is released before a thread is waited for. Raises QueueTimeout, ClientGone,
        StoreUnavailable and django.db.OperationalError.
        """
        __traceback_hide__ = True
        person: str | None = await request.session.aget(SESSION_KEY)
        if person is None or (known := user_cache().cached_id(request.session)) is not None:
            return None if person is None else known
        permit.release()  # Waiting for a thread must not delay calls that need none.
        async with self._queries.permit(person, client):
            # A call before this one may have loaded the user.
            if (known := user_cache().cached_id(request.session)) is not None:
                return known
            async with self._threads.permit(client):
                return await self._threads.in_thread(partial(self._query, request))

    async def find_user(
        self, request: HttpRequest, client: Client, permit: Permit
    ) -> AbstractBaseUser | None:
        """Return the active user of a request's session. Raises as `find` does."""
        while await self.find(request, client, permit) is not None:
            user = getattr(request, CACHED_USER, None) or user_cache().cached_user(request.session)
            if user is not None:  # not dropped from the cache in between
                return cast("AbstractBaseUser", user)
        return None

    def _query(self, request: HttpRequest) -> str | None:
        """Query the user as Django does, which also ends or changes the session, if it must."""
        __traceback_hide__ = True
        reset_queries()
        close_old_connections()
        try:
            self._authentication.process_request(request)
            return user_cache().active_user_id(request)
        finally:
            close_old_connections()
