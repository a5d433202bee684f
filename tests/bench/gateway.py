"""The gateway under uvicorn, with a person who is signed in; the session's cookie is told.

python -m tests.bench.gateway
"""

from __future__ import annotations

import time

import django

from tests.bench.uvicorn_server import serve

django.setup(set_prefix=False)

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402

from gateway_site.asgi import application  # noqa: E402
from oauth import session as held  # noqa: E402
from oauth.tokens import TokenSet  # noqa: E402
from sessions_kms.backend import SessionStore  # noqa: E402


def signed_in() -> str:
    """Return the key of a session of somebody who signed in, with a token that lasts."""
    user, _ = User.objects.get_or_create(username="ada")
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    token = TokenSet(
        access_token="t" * 600,
        token_type="Bearer",
        scope=("openid",),
        subject="1",
        client_id="gateway-client",
        issued_at=int(time.time()),
    )
    held.store(session, "corp", token)
    session.save()
    return str(session.session_key)


if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    serve(application, cookie=f"gateway_sessionid={signed_in()}", path="gateway/bench/")
