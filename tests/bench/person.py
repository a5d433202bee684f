"""Somebody who is signed in at the gateway that is measured. Sets Django up when imported."""

from __future__ import annotations

import time

import django

django.setup(set_prefix=False)

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connections  # noqa: E402

from oauth.provider.token_set import TokenSet  # noqa: E402
from oauth.tokens import vault as held  # noqa: E402
from sessions_kms.backend import SessionStore  # noqa: E402


def signed_in_cookie() -> str:
    """Return the cookie of somebody who signed in, with a token that lasts."""
    call_command("migrate", verbosity=0)
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
    connections.close_all()  # of this thread, which may have the event loop
    return f"gateway_sessionid={session.session_key}"
