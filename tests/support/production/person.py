"""A signed-in person of the gateway. Importing this module sets Django up."""

import time

import django

from sessions_kms.concurrency.waits import run_sync

django.setup(set_prefix=False)

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connections  # noqa: E402

from oauth.clients.authentication.dpop_proof import RequestProof  # noqa: E402
from oauth.clients.consent import Consent  # noqa: E402
from oauth.clients.grants import grants  # noqa: E402
from oauth.clients.sealed_grant import TokenResponse  # noqa: E402
from oauth.clients.server import authorization_server  # noqa: E402
from oauth.formats import hash_text  # noqa: E402
from oauth.provider.token_set import TokenSet  # noqa: E402
from oauth.tokens import vault as held  # noqa: E402
from sessions_kms.backend import SessionStore  # noqa: E402
from sessions_kms.services import services  # noqa: E402
from tests.support.production.environment import UPSTREAM  # noqa: E402

BACKEND = "django.contrib.auth.backends.ModelBackend"


VERIFIER = "verifier-" * 5
REDIRECT_URI = "http://127.0.0.1/callback"


def signed_in_cookie(username: str = "ada") -> str:
    """Return the cookie of a signed-in person with a token that does not expire soon."""
    user = _user(username)
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = BACKEND
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    held.store_token_set(session, "corp", _token_set())
    session.save()
    connections.close_all()  # of this thread, which may run the event loop
    return f"gateway_sessionid={session.session_key}"


def client_token(proof: RequestProof | None = None) -> TokenResponse:
    """Return the tokens of a client that is allowed to call the upstream, bound by a proof."""
    resource = f"{authorization_server().issuer}/gateway/{UPSTREAM}"
    consent = Consent(
        client_id="client",
        client_name="Client",
        client_host=None,
        redirect_uri=REDIRECT_URI,
        upstream=UPSTREAM,
        resource=resource,
        scope=UPSTREAM,
        challenge=hash_text(VERIFIER),
    )
    allowed = run_sync(grants().allow(_user(), consent, "corp", _token_set(), backend=BACKEND))
    issued = run_sync(
        grants().redeem(
            allowed.code,
            verifier=VERIFIER,
            client_id="client",
            redirect_uri=None,
            resource=None,
            arrived_at=services().clock(),
            is_allowed=lambda _: True,
            proof=proof,
        )
    )
    connections.close_all()  # of this thread, which may run the event loop
    return issued


def _user(username: str = "ada") -> User:
    call_command("migrate", verbosity=0)
    return User.objects.get_or_create(username=username)[0]


def _token_set() -> TokenSet:
    return TokenSet(
        access_token="t" * 600,
        token_type="Bearer",
        scope=("openid",),
        subject="1",
        client_id="gateway-client",
        issued_at=int(time.time()),
    )
