"""The gateway under its own server, with an allowed OAuth client; it prints the client's token.

python -m tests.bench.client_gateway [FILE | --bound KEY]

With a file of rules for its upstream, if one is given; or with a token that is bound to a key.
"""

from __future__ import annotations

import os
import sys

from tests.support.production.environment import CLIENTS

os.environ |= CLIENTS | {
    "UPSTREAM_BENCH_POLICY_FILE": "" if "--bound" in sys.argv else "".join(sys.argv[1:])
}

from gateway_site.asgi import application
from gateway_site.server import OPTIONS
from oauth.clients.authentication.dpop_proof import RequestProof
from tests.oauth.support.proof_maker import ProofKey
from tests.support.production.person import client_token
from tests.support.production.uvicorn_server import serve

URL = f"{CLIENTS['AUTHORIZATION_ISSUER']}/oauth/token"


def main() -> None:
    proof = None
    if "--bound" in sys.argv:
        text = ProofKey.loaded(sys.argv[-1]).proof("POST", URL)
        proof = RequestProof(text=text, method="POST", url=URL)
    token = client_token(proof).access_token
    serve(application, options=OPTIONS, token=token, path="gateway/bench/")


if __name__ == "__main__":
    main()
