"""A gateway in a separate process, with signed-in people.

    python -m tests.gateway_site.support.serving PORT SESSIONS

It prints the session keys as JSON, the last of them another person's, then serves. The engine is
the real one with a table and a KMS in memory. `/_control/…` changes the state of the process for
tests.
"""

import asyncio
import inspect
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import django
import uvicorn
from asgiref.sync import sync_to_async

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.gateway_site.support.site_settings"
django.setup(set_prefix=False)

# These need the settings.
from django.conf import settings  # noqa: E402
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connections  # noqa: E402
from django.http import HttpRequest  # noqa: E402
from django.middleware.security import SecurityMiddleware  # noqa: E402

from gateway_site.asgi import application, django_application  # noqa: E402
from gateway_site.edge.shutdown import shutdown_of  # noqa: E402
from gateway_site.forwarding.calls import calls, exchange  # noqa: E402
from gateway_site.forwarding.calls import upstream_token as tokens  # noqa: E402
from gateway_site.forwarding.calls.calls import slots  # noqa: E402
from gateway_site.forwarding.calls.limits import user_calls  # noqa: E402
from gateway_site.forwarding.calls.user_cache import user_cache  # noqa: E402
from gateway_site.server import OPTIONS  # noqa: E402
from oauth.access import aget_token  # noqa: E402
from oauth.clients.consent import Consent  # noqa: E402
from oauth.clients.grants import grants  # noqa: E402
from oauth.clients.rules import registration  # noqa: E402
from oauth.clients.rules.client import document_host, is_document_url  # noqa: E402
from oauth.clients.server import authorization_server  # noqa: E402
from oauth.formats import hash_text  # noqa: E402
from oauth.provider import dpop  # noqa: E402
from oauth.provider.token_set import TokenSet  # noqa: E402
from oauth.sign_in import session_user  # noqa: E402
from oauth.tokens import vault as held  # noqa: E402
from sessions_kms.backend import SessionStore  # noqa: E402
from sessions_kms.exceptions import StoreUnavailable  # noqa: E402
from sessions_kms.outages import OUTAGES  # noqa: E402
from sessions_kms.services import id_of  # noqa: E402
from sessions_kms.session import visits  # noqa: E402
from tests.gateway_site.support import cookies, garbage, ways  # noqa: E402
from tests.oauth.support.dpop_checker import ProofChecker  # noqa: E402
from tests.sessions_kms.support.memory_dynamodb import refuse_write  # noqa: E402
from tests.sessions_kms.support.stacks import fake_stack, install  # noqa: E402
from tests.support.clock import FakeClock  # noqa: E402

TOKEN = "token-of-the-person"
ANOTHERS_TOKEN = "token-of-another-person"
GRANTED = "token-of-a-grant"
GROUPS = ("sales",)  # of the first person
VERIFIER = "verifier-" * 5
REDIRECT_URI = "http://127.0.0.1/callback"
CLIENT_ID = registration.make_client_id("Tool", [REDIRECT_URI])
stack = fake_stack(FakeClock(time.time()))
server_state: dict[str, Any] = {}  # of the lifespan


def thumbprint(key: str) -> str:
    """Return the thumbprint of a proof's key, for servers."""
    shown = dpop.make_proof(key, "GET", "https://a.example/", now=0)
    return ProofChecker().check([shown], "GET", "https://a.example/", None, now=0)


# A token that ends with this key's thumbprint must not look like a refreshed one.
KEY = next(key for key in iter(dpop.new_dpop_key, None) if "-2" not in f"-{thumbprint(key)}")


async def refresh_token(
    request: HttpRequest, provider: str, refused: TokenSet | None = None
) -> TokenSet:
    """Refresh without a provider: `token` is followed by `token-2`."""
    token, wish = await aget_token(request, provider), request.headers.get("X-Test-Refresh")
    if refused is None and wish != "due":
        return token
    if wish == "unavailable":
        raise StoreUnavailable
    if wish == "demoted":
        token = replace(token, groups=())
    if wish in {"stored", "due"}:
        stored = SessionStore(request.session.session_key)
        await stored.aset("refreshed", time.time())
        await stored.asave()
        request.session.catch_up(stored)  # type: ignore[attr-defined]  # the engine's own
    return replace(token, access_token=f"{token.access_token}-2")


def token_set(access_token: str) -> TokenSet:
    return TokenSet(
        access_token=access_token,
        token_type="Bearer",
        scope=("openid",),
        subject="1",
        client_id="gateway",
        issued_at=int(time.time()),
    )


def sign_in(user: User, access_token: str = TOKEN, groups: tuple[str, ...] = GROUPS) -> str:
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    token = replace(token_set(access_token), groups=groups)
    held.store_token_set(session, "corp", token)
    session[held.METHODS] = [{"method": "socialaccount", "provider": "corp", "uid": token.subject}]
    if notes := settings.UPSTREAMS.get("notes"):  # an MCP server, which has no groups
        issuer = "https://notes.example.com"
        connected = replace(token, groups=(), issuer=issuer, resource=notes.origin)
        held.store_token_set(session, "notes", connected)
    bound = replace(token, access_token=f"{access_token}-{thumbprint(KEY)}", token_type="dpop")
    held.store_token_set(session, "bound", replace(bound, dpop_key=KEY))
    session.save()
    return str(session.session_key)


async def allow(wish: str) -> str:
    """Allow a client to call an upstream for the first person; return the code.

    The wish is the upstream's name, with `/` and the client's id for another one than the usual.
    """
    upstream, _, client_id = wish.partition("/")
    consent = Consent(
        client_id=client_id or CLIENT_ID,
        client_name="Tool",
        client_host=document_host(client_id) if is_document_url(client_id) else None,
        redirect_uri=REDIRECT_URI,
        upstream=upstream,
        resource=f"{authorization_server().issuer}/gateway/{upstream}",
        scope=upstream,
        challenge=hash_text(VERIFIER),
    )
    user = await User.objects.aget(username="ada")
    granted = replace(token_set(GRANTED), groups=GROUPS)
    steps = grants().allow(
        user, consent, "corp", granted, backend=settings.AUTHENTICATION_BACKENDS[0]
    )
    allowed = await steps
    # The clock does not advance, so any of them could be the least recently used one.
    assert not allowed.ended, "Grants of other tests are left, and one of them has just ended."
    return allowed.code


def set_https(value: str) -> str:
    """Redirect to https from now on, as production does."""
    middleware: Any = inspect.unwrap(
        vars(django_application._pages.middleware_chain)["_middleware_chain"]
    )
    while not isinstance(middleware, SecurityMiddleware):
        middleware = inspect.unwrap(middleware.get_response)
    for each in (middleware, django_application._calls._security):
        each.redirect = value == "1"
    return value


def set_age(value: str) -> str:
    """Set the seconds for which users are cached, and clear the cache."""
    settings.PERSON_CACHE_AGE = int(value)
    user_cache.cache_clear()
    return value


def swap_secret_keys(_: str) -> None:
    """Restart with the former SECRET_KEY, or at first another, and the current one as fallback."""
    former = settings.SECRET_KEY_FALLBACKS or ["another-secret-key-" * 3]
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], former[0]
    session_user.started_at = time.time()
    user_cache.cache_clear()


async def end(key: str) -> None:
    await SessionStore().adelete(key)


async def activate(value: str) -> None:
    async for user in User.objects.all():
        user.is_active = value == "1"
        await user.asave()


async def set_staff(value: str) -> None:
    """Make the first person staff, or remove that."""
    ada = await User.objects.aget(username="ada")
    ada.is_staff = value == "1"
    await ada.asave()


async def set_store(value: str) -> None:
    """Make the table unavailable, or available again and load a session to end the outage."""
    stack.dynamodb.unavailable = value == "down"
    for outage in OUTAGES.values() if value == "up" else ():
        outage.served()


def set_database(value: str) -> str:
    """Put a folder in the place of the database's file, or put the file back."""
    file = Path(settings.DATABASES["default"]["NAME"])
    away = file.with_suffix(".away")
    if value == "down":
        file.replace(away)
        file.mkdir()
    else:
        file.rmdir()
        away.replace(file)
    return value


async def set_writes(value: str) -> None:
    """Have the table refuse to write sessions, or allow it again."""
    stack.dynamodb.heal()
    if value == "down":
        stack.dynamodb.on("PutItem session", refuse_write)
    visits.pause = visits.VisitPause()


async def count_seconds_left(key: str) -> str:
    """Return the seconds until the stored session of a key ends."""
    return str(int(stack.items()[id_of(key)]["ttl"]["N"]) - int(stack.clock()))


async def advance(seconds: str) -> None:
    """Advance the engine's clock."""
    stack.clock.advance(int(seconds))


async def count_calls(_: str) -> str:
    """Return the number of clients and people with open calls, as the gateway counts them."""
    return str(len(slots) + len(user_calls()))


async def count_tasks(_: str) -> str:
    """Return the number of tasks of the event loop: one for each request, and their subtasks."""
    return str(len(asyncio.all_tasks()))


async def shut_down(which: str) -> None:
    """Tell `streams`, or those with `results`, that the server stops, or that `none` has to end."""
    shutdown = shutdown_of(server_state)
    if which == "streams":
        shutdown.begin()
    elif which == "results":
        shutdown._results.come()  # twenty seconds later
    else:
        shutdown.__init__()  # type: ignore[misc]  # the server keeps this one


async def change(owner: object, name: str, value: object) -> None:
    assert hasattr(owner, name)
    setattr(owner, name, value)


def at_once(act: Callable[[str], str]) -> Callable[[str], Awaitable[str]]:
    """Return an async function that calls it in a thread."""
    return sync_to_async(act)


CONTROLS: dict[str, Callable[[str], Awaitable[str | None]]] = {
    "store": set_store,
    "writes": set_writes,
    "idle": lambda value: change(settings, "SESSION_COOKIE_AGE", int(value)),
    "seconds-left": count_seconds_left,
    "end": end,
    "later": advance,
    "check": lambda value: change(calls, "SESSION_CHECK", float(value)),
    "reader": lambda value: change(exchange, "READER_TIMEOUT", float(value)),
    "active": activate,
    "staff": set_staff,
    "allow": allow,
    "ways": at_once(lambda _: json.dumps(ways.took)),
    "reads": at_once(lambda _: str(stack.dynamodb.calls.count("GetItem session"))),
    "session-writes": at_once(lambda _: str(stack.dynamodb.calls.count("PutItem session"))),
    "all-reads": at_once(
        lambda _: str(sum(each.startswith("GetItem") for each in stack.dynamodb.calls))
    ),
    "cookie": at_once(lambda kind: cookies.of(kind, sign_in)),
    "age": at_once(set_age),
    "swap-secret-keys": sync_to_async(swap_secret_keys),
    "https": at_once(set_https),
    "database": at_once(set_database),
    "shutdown": shut_down,
    "slots": count_calls,
    "tasks": count_tasks,
    "garbage": at_once(garbage.count),
}


async def with_control(scope: Any, receive: Any, send: Any) -> None:
    """Serve the gateway and the control URLs of its tests."""
    if scope["type"] != "http" or not scope["path"].startswith("/_control/"):
        await application(scope, receive, send)
        return
    server_state.update(scope["state"])
    what, _, value = scope["path"].removeprefix("/_control/").partition("/")
    value = await CONTROLS[what](value) or value
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": value.encode()})


def main() -> None:
    ways.count()
    setattr(tokens, "aget_token", refresh_token)  # noqa: B010 - for mypy it is not the module's own
    install(stack.services)
    call_command("migrate", verbosity=0)
    ada, grace = User.objects.create_user("ada"), User.objects.create_user("grace")
    keys = [*(sign_in(ada) for _ in range(int(sys.argv[2]))), sign_in(grace, ANOTHERS_TOKEN, ())]
    connections.close_all()  # of this thread, which will run the event loop
    sys.stdout.write(json.dumps(keys) + "\n")
    sys.stdout.flush()
    options = {**OPTIONS, "backlog": 2048}
    uvicorn.run(with_control, port=int(sys.argv[1]), log_config=None, **options)


if __name__ == "__main__":
    main()
