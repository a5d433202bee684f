"""Authlib as a client with a key or a secret: exchanges a code, refreshes twice, calls and revokes.

It reads a JSON object from the variable CLIENT, and prints what came of it as JSON. It runs under
the Python that has Authlib.
"""

import json
import os
import sys

from authlib.integrations.httpx_client import OAuth2Client
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import ECKey


def main() -> None:
    given = json.loads(os.environ["CLIENT"])
    endpoint, method = f"{given['issuer']}/oauth/token", given["method"]
    has_key = method == "private_key_jwt"
    secret = ECKey.import_key(given["key"]) if has_key else given["secret"]
    more = {"revocation_endpoint_auth_method": method}
    client = OAuth2Client(given["client_id"], secret, token_endpoint_auth_method=method, **more)
    if has_key:
        headers = {"kid": given["key"]["kid"]}
        client.register_client_auth_method(PrivateKeyJWT(endpoint, alg="ES256", headers=headers))
    tokens = client.fetch_token(
        endpoint,
        authorization_response=given["answered"].replace("http://", "https://"),
        state="s",
        code_verifier=given["verifier"],
        redirect_uri=given["redirect_uri"],
    )
    for _ in range(2):
        tokens = client.refresh_token(endpoint, tokens["refresh_token"])
    status = client.get(given["resource"]).status_code
    revoked = client.revoke_token(f"{given['issuer']}/oauth/revoke", tokens["refresh_token"])
    revoked.raise_for_status()
    kind = tokens["token_type"].lower()
    done = {"scope": tokens["scope"], "token_type": kind, "status": status}
    sys.stdout.write(json.dumps(done))


if __name__ == "__main__":
    main()
