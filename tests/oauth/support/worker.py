"""A gateway process that gets tokens, or registers, on command; `Worker` is the test's handle.

Its clock is the machine's plus the seconds in a file, so that a test can advance the clocks of all
processes.
"""

import asyncio
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.support.talking_process import TalkingProcess, obey, say

ENVIRONMENT = "WORKER_OF_TOKENS"
FROZEN = "frozen"


def digest(access_token: str) -> str:
    """Return a digest to show instead of a token."""
    return hashlib.sha256(access_token.encode()).hexdigest()


class Worker(TalkingProcess):
    """The test's handle of one such process."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__("tests.oauth.support.worker", {ENVIRONMENT: json.dumps(settings)})


class Commands:
    """The commands of the process."""

    def ready(self) -> bool:
        return True

    def warm_up(self) -> bool:
        """Create the clients of AWS, so that what follows races."""
        from oauth.mcp.stored_registrations import load_registrations
        from sessions_kms.services import services

        return load_registrations(services(), "wiki").registrations == ()

    def register(self, issuer: str) -> str:
        """Register with an authorization server; return the client's id."""
        from oauth.mcp.registrations import registration_for
        from tests.oauth.support.registering import CALLBACK, discovered_at

        return registration_for(discovered_at(issuer), CALLBACK).client_id

    def freeze(self, before: str) -> None:
        """Stop forever, and report it, when the winner of a refresh reaches this point."""
        from oauth.tokens import refresh_coordinator
        from sessions_kms.backend import SessionStore
        from sessions_kms.sealed_items.leases import Leases

        def stop(*_: Any, **__: Any) -> None:
            say(FROZEN)
            threading.Event().wait()

        place: tuple[Any, str] = {
            "refresh": (refresh_coordinator, "request_refresh"),
            "seal": (Leases, "complete"),
            "save": (SessionStore, "save"),
        }[before]
        assert hasattr(*place)
        setattr(*place, stop)

    def threads(self, key: str, count: int) -> list[str]:
        """Get tokens in threads that start together; return a digest of each, or the error."""
        import oauth

        barrier = threading.Barrier(count)

        def ask(_: int) -> str:
            request = _request(key)
            barrier.wait(timeout=30)
            return _outcome(lambda: oauth.get_token(request, "corp").access_token)

        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(ask, range(count)))

    def tasks(self, key: str, count: int) -> list[str]:
        """Get tokens in tasks of one event loop."""
        import oauth

        async def ask() -> str:
            try:
                return digest((await oauth.aget_token(_request(key), "corp")).access_token)
            except Exception as exc:  # noqa: BLE001 - handed to the test
                return type(exc).__name__

        async def ask_all() -> list[str]:
            return await asyncio.gather(*(ask() for _ in range(count)))

        return asyncio.run(ask_all())


def _outcome(token: Callable[[], str]) -> str:
    try:
        return digest(token())
    except Exception as exc:  # noqa: BLE001 - handed to the test
        return type(exc).__name__


def _request(key: str) -> Any:
    from django.http import HttpRequest

    from sessions_kms.backend import SessionStore

    request = HttpRequest()
    request.session = SessionStore(key)
    return request


def set_up(settings: dict[str, Any]) -> None:
    import django
    from django.conf import settings as configuration

    configuration.configure(
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "allauth",
            "allauth.account",
            "allauth.socialaccount",
            "allauth.socialaccount.providers.openid_connect",
        ],
        MIDDLEWARE=["allauth.account.middleware.AccountMiddleware"],
        SESSION_ENGINE="sessions_kms.backend",
        SESSIONS_KMS=settings["sessions"],
        SOCIALACCOUNT_PROVIDERS=settings["providers"],
        OAUTH_MCP_CLIENT=settings.get("client"),
        USE_TZ=True,
    )
    django.setup()
    from sessions_kms import conf, services

    ahead = Path(settings["clock"])
    services._services = services.build(
        conf.config(), clock=lambda: time.time() + float(ahead.read_text() or 0)
    )


def main() -> None:
    set_up(json.loads(os.environ[ENVIRONMENT]))
    obey(Commands())


if __name__ == "__main__":
    main()
