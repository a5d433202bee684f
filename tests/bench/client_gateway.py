"""The gateway under its own server, with an allowed OAuth client; it prints the client's token.

python -m tests.bench.client_gateway [FILE]

With a file of rules for its upstream, if one is given.
"""

from __future__ import annotations

import os
import sys

from tests.support.production.environment import CLIENTS

os.environ |= CLIENTS | {"UPSTREAM_BENCH_POLICY_FILE": "".join(sys.argv[1:])}

from gateway_site.asgi import application
from gateway_site.server import OPTIONS
from tests.support.production.person import client_token
from tests.support.production.uvicorn_server import serve

if __name__ == "__main__":
    serve(application, options=OPTIONS, token=client_token().access_token, path="gateway/bench/")
