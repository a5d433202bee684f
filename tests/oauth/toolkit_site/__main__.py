"""Serve the site on a port: `python -m tests.oauth.toolkit_site PORT`, the environment for it set.

Prints the client and authorization codes, each good for one grant, as one line of JSON.
"""

import json
import secrets
import sys
from datetime import timedelta
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import django

REDIRECT_URI = "http://127.0.0.1/callback"
CODES = 10


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keep the test output clean."""


def prepare() -> dict[str, object]:
    """Make the tables, a client, a person, and codes as consents would."""
    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from django.utils import timezone
    from oauth2_provider.models import Application, Grant  # type: ignore[import-untyped]  # it has no types

    call_command("migrate", verbosity=0)
    person = get_user_model().objects.create_user("ada")
    secret = secrets.token_urlsafe(24)
    client = Application.objects.create(
        name="gateway",
        client_type=Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
        client_secret=secret,
        hash_client_secret=False,
        redirect_uris=REDIRECT_URI,
        algorithm=Application.RS256_ALGORITHM,
    )
    verifier = secrets.token_urlsafe(48)
    codes = [secrets.token_urlsafe(24) for _ in range(CODES)]
    for code in codes:
        Grant.objects.create(
            user=person,
            code=code,
            application=client,
            expires=timezone.now() + timedelta(hours=1),
            redirect_uri=REDIRECT_URI,
            scope="openid read",
            code_challenge=verifier,
            code_challenge_method="plain",
        )
    return {
        "client_id": client.client_id,
        "client_secret": secret,
        "subject": str(person.pk),
        "code_verifier": verifier,
        "redirect_uri": REDIRECT_URI,
        "codes": codes,
    }


def main() -> None:
    django.setup()
    from django.core.wsgi import get_wsgi_application

    prepared = prepare()
    with _Server(("127.0.0.1", int(sys.argv[1])), _Handler) as server:
        server.set_app(get_wsgi_application())
        sys.stdout.write(json.dumps(prepared) + "\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main()
