"""The gateway with all features that parse untrusted input, and a meter of its event loop.

    python -m tests.bench.metered_gateway FOLDER

Static files are collected into the folder. It prints the cookies of two signed-in people and a
client's token.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.bench.message_cases import message_upstreams
from tests.support.production.environment import CLIENTS

os.environ |= CLIENTS | {
    "CLIENTS_REGISTRATION": "1",
    "CLIENTS_METADATA_DOCUMENTS": "1",
    "TRUSTED_PROXIES": "127.0.0.1,10.0.0.0/8,192.168.0.0/16,::1,2001:db8::/32",
    "PROXY_SCHEME_HEADER": "X-Forwarded-Proto",
}
os.environ |= message_upstreams(os.environ["UPSTREAM_BENCH_URL"], Path(sys.argv[1]))

from tests.support.production.person import (  # noqa: I001 - it sets Django up
    client_token,
    signed_in_cookie,
)

from django.conf import settings
from django.core.management import call_command

from gateway_site.server import OPTIONS
from tests.bench.stall_meter import StallMeter
from tests.support.production.uvicorn_server import serve


def main(static_root: Path) -> None:
    settings.STATIC_ROOT = static_root
    call_command("collectstatic", interactive=False, verbosity=0)
    from gateway_site.asgi import application  # The import looks for static files.

    told = {
        "cookie": signed_in_cookie(),
        "other_cookie": signed_in_cookie("grace"),
        "token": client_token().access_token,
    }
    # One of asyncio's own loops, which the meter supports.
    serve(StallMeter(application), options={**OPTIONS, "loop": "asyncio"}, **told)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
