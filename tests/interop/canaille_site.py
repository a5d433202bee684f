"""canaille (PyPI), with one person and one client in memory. Run by canaille's own Python.

python tests/interop/canaille_site.py OPTIONS    (JSON: those of openid_provider.py)
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

from canaille import create_app  # type: ignore[import-not-found]  # in an environment of its own
from canaille.app import models  # type: ignore[import-not-found]
from canaille.backends import Backend  # type: ignore[import-not-found]
from joserfc.jwk import RSAKey

options = json.loads(sys.argv[1])
key = RSAKey.generate_key(2048, auto_kid=True, parameters={"alg": "RS256"})
app = create_app(
    {
        "SECRET_KEY": "the key of a provider for tests",
        "SERVER_NAME": f"localhost:{options['port']}",
        "PREFERRED_URL_SCHEME": "http",
        "CANAILLE": {"DATABASE": "memory", "JAVASCRIPT": False, "HTMX": False},
        "CANAILLE_OIDC": {"ACTIVE_JWKS": [key.as_dict(private=True)]},
    }
)
with app.app_context():
    Backend.instance.save(
        models.User(
            user_name=options["person"],
            family_name="Lovelace",
            formatted_name="Ada Lovelace",
            emails=["ada@example.com"],
            password=options["password"],
        )
    )
    client = models.Client(
        client_id=options["clientId"],
        client_secret=options["clientSecret"],
        client_name="Gateway",
        client_id_issued_at=datetime.now(UTC),
        redirect_uris=[options["redirectUri"]],
        post_logout_redirect_uris=[options["postLogoutRedirectUri"]],
        grant_types=["authorization_code", "refresh_token"],
        response_types=["code"],
        scope=["openid", "profile", "email"],
        token_endpoint_auth_method="client_secret_basic",
    )
    Backend.instance.save(client)
    client.audience = [client]  # otherwise its id tokens have no audience
    Backend.instance.save(client)
app.run("127.0.0.1", options["port"], threaded=True)
