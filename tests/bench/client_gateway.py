"""The gateway under its own server, with an allowed OAuth client; it prints the client's token.

python -m tests.bench.client_gateway
"""

from __future__ import annotations

import os

from tests.bench.gateway_environment import CLIENTS

os.environ |= CLIENTS

from gateway_site.asgi import application
from gateway_site.server import OPTIONS
from tests.bench.person import client_token
from tests.bench.uvicorn_server import serve

if __name__ == "__main__":
    serve(application, options=OPTIONS, token=client_token().access_token, path="gateway/bench/")
