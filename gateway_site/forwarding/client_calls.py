"""What is otherwise with the call of an OAuth client than with a browser's.

A request, a problem or an answer's headers enter, and leave as a client is to have them. Which
session a token opens is another module's business (`client_session`), which is loaded only where
clients are let in; so is a request that it has marked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from django.conf import settings
from django.http import HttpRequest

from gateway_site.forwarding.call import Call
from gateway_site.rules.headers import Headers
from gateway_site.rules.problems import Problem, unavailable
from gateway_site.rules.url_rules import ROOT
from oauth.clients.rules.challenge import challenge
from sessions_kms import StoreUnavailable

ATTRIBUTE = "_gateway_client"  # of a request
CHALLENGE = "WWW-Authenticate"
# Without the provider's tokens a grant is of no use; some clients ask for a new one only when
# their refresh token is refused as well.
OVER = frozenset({"not_connected", "reauthentication_required"})


@dataclass(frozen=True)
class ClientCall:
    """Marks a request that a client's token opened a session for. ``end`` ends its grant."""

    end: Callable[[], Awaitable[None]] = field(repr=False)


def mark(request: HttpRequest, client: ClientCall) -> None:
    """Note that a request is a client's."""
    setattr(request, ATTRIBUTE, client)


def of(request: HttpRequest) -> ClientCall | None:
    """Return what marks a client's request."""
    found: ClientCall | None = getattr(request, ATTRIBUTE, None)
    return found


def offered(path: str) -> tuple[str, str] | None:
    """Return upstream and rest of a path, where clients may call that; None anywhere else."""
    server = settings.AUTHORIZATION_SERVER
    if server is None or not path.startswith(ROOT):
        return None
    name, slash, rest = path.removeprefix(ROOT).partition("/")
    return (name, slash + rest) if name in server.upstreams else None


def challenge_of(path: str, *, invalid: bool) -> str | None:
    """Return how a client is told that it needs a token; None where none may call."""
    server, found = settings.AUTHORIZATION_SERVER, offered(path)
    if server is None or found is None:
        return None
    return challenge(server.issuer, *found, invalid=invalid)


async def settled(call: Call, problem: Problem) -> Problem:
    """Return the problem as who calls is to have it; a client's grant that is of no use ends.

    Otherwise a client would refresh, be refused again, and be stuck.
    """
    client = of(call.request)
    if client is not None and problem.code in OVER:
        try:
            await client.end()
        except StoreUnavailable:
            return unavailable(
                "store_unavailable", "The session store cannot be used at the moment."
            )
        problem = Problem(401, "grant_ended", "The provider wants a new sign-in.")
    if problem.status == 401 and client is not None:
        told = challenge_of(call.request.path_info, invalid=True)
        problem.headers |= {CHALLENGE: told} if told else {}
    return problem


def refuse_unauthorized(call: Call, status: int) -> None:
    """Raise Problem where an upstream refuses even a fresh token of a client's person.

    The client would take it for its own token's end.
    """
    if status == 401 and of(call.request) is not None:
        raise Problem(502, "upstream_unauthorized", "The upstream does not accept the token.")


def told(call: Call, headers: Headers) -> Headers:
    """Return an upstream's headers as the caller may have them.

    Its challenge would lead a client elsewhere for a token.
    """
    if call.upstream.clients:
        headers = [
            (name, b"Authorization, " + value if name == b"vary" else value)
            for name, value in headers
        ]
    if of(call.request) is None:
        return headers
    return [pair for pair in headers if pair[0] != b"www-authenticate"]


def bounded_as(call: Call) -> object:
    """Return by what open calls are counted: a client's apart from its person's."""
    if of(call.request) is None:
        return call.upstream.name, call.owner.person
    return call.upstream.name, call.owner.person, call.owner.holder
