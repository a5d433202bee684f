"""A gateway over https under production's settings, in a separate process.

    python -m tests.e2e.https_gateway PORT CERTIFICATE KEY

The engine is the real one over a table and a KMS in memory. `/_control/cookies` gives the last
Cookie header that came, as it came.
"""

import sys
import time
from typing import Any

import django
import uvicorn

django.setup(set_prefix=False)

from django.core.management import call_command  # noqa: E402

from gateway_site.asgi import application  # noqa: E402
from tests.sessions_kms.support.stacks import fake_stack, install  # noqa: E402
from tests.support.clock import FakeClock  # noqa: E402

last = [b""]


class Running(FakeClock):
    """The time as it is: some buttons count only once they were seen for a second."""

    def __call__(self) -> float:
        return time.time()


async def with_control(scope: Any, receive: Any, send: Any) -> None:
    """Serve the gateway, and tell what a browser sent to its home page."""
    if scope["path"] == "/_control/cookies":
        headers = [(b"content-type", b"text/plain; charset=latin-1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": last[0]})
        return
    if scope["path"] == "/":
        last[0] = b"\n".join(value for name, value in scope["headers"] if name == b"cookie")
    await application(scope, receive, send)


def main() -> None:
    install(fake_stack(Running()).services)
    call_command("migrate", verbosity=0)
    uvicorn.run(
        with_control,
        port=int(sys.argv[1]),
        ssl_certfile=sys.argv[2],
        ssl_keyfile=sys.argv[3],
        log_config=None,
        access_log=False,
        lifespan="off",
        proxy_headers=False,
    )


if __name__ == "__main__":
    main()
