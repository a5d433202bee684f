"""What docs/guides/api-on-aws.md has its reader bring along: a provider, an API, a database."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gateway_site.local.environment import REGION
from tests.guides.balancer import HOME
from tests.support.processes import free_ports, module, running

CALLBACK = f"{HOME}/accounts/oidc/corp/login/callback/"
DATABASE = (
    "postgres://gateway:change-me@db.internal.example.com/gateway"
    "?sslmode=verify-full&sslrootcert=system"
)


@contextmanager
def bringing_along(folder: Path, port: int) -> Iterator[dict[str, str]]:
    """Run the provider and the API; give what the guide names, and what it is here.

    ``port`` is the gateway's. Provider and API have no TLS here, which each has to be allowed.
    """
    provider, api = free_ports(2)
    client = {
        "PATH": os.environ["PATH"],
        "PROVIDER_CLIENT_ID": "gateway",
        "PROVIDER_CLIENT_SECRET": "change-me",
        "PROVIDER_REDIRECT_URIS": CALLBACK,
    }
    state = ("--state", str(folder / "provider"))
    commands = {
        provider: module("gateway_site.local.provider", "--port", str(provider), *state),
        api: module("gateway_site.local.echo_api", str(api)),
    }
    with ExitStack() as stack:
        for used, command in commands.items():
            stack.enter_context(running(command, client, folder / f"{used}.log", used))
        yield {
            "eu-west-1": REGION,
            DATABASE: f"sqlite:///{folder}/gateway.sqlite3",
            "https://login.example.com": f"http://127.0.0.1:{provider}",
            "https://orders.internal.example.com": f"http://127.0.0.1:{api}",
            "\nOAUTH_CORP_ISSUER=": "\nOAUTH_CORP_ALLOW_HTTP=1\nOAUTH_CORP_ISSUER=",
            "\nUPSTREAM_ORDERS_URL=": "\nUPSTREAM_ORDERS_ALLOW_HTTP=1\nUPSTREAM_ORDERS_URL=",
            "--host 0.0.0.0 --port 8000": f"--port {port}",
            "127.0.0.1:8000": f"127.0.0.1:{port}",
        }
