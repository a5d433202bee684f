"""npm's `oidc-provider` in a separate process, for tests of a client."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.support.processes import free_ports, running

FOLDER = Path(__file__).parent / "node"
CLIENT_ID, CLIENT_SECRET = "gateway", "secret-of-the-gateway-at-its-provider"


class OpenIDProvider:
    """One provider with a name. It is on `localhost`, another site than 127.0.0.1."""

    def __init__(
        self,
        name: str,
        gateway: str,
        *,
        pushed: bool = False,
        bound: bool = False,
        single_logout: str = "1",
        revocation: str = "last",
    ) -> None:
        (self.port,) = free_ports(1)
        self.name = name
        self.single_logout = single_logout
        self.revocation = revocation
        self.issuer = f"http://localhost:{self.port}"
        self.options = {
            "port": self.port,
            "clientId": CLIENT_ID + name,
            "clientSecret": CLIENT_SECRET,
            "redirectUri": f"{gateway}/accounts/oidc/{name}/login/callback/",
            "postLogoutRedirectUri": f"{gateway}/accounts/logout/done/",
            "backchannelLogoutUri": f"{gateway}/oauth/backchannel-logout/{name}",
            "pushed": pushed,
            "bound": bound,
        }

    @property
    def variables(self) -> dict[str, str]:
        """The gateway's variables for it, with its userinfo as an upstream."""
        named = self.name.upper()
        of_provider = {
            "CLIENT_ID": CLIENT_ID + self.name,
            "CLIENT_SECRET": CLIENT_SECRET,
            "ISSUER": self.issuer,
            "SCOPES": "openid,profile,email,offline_access",
            "AUTH_PARAMS": "prompt=consent",  # for offline_access (OpenID Connect Core section 11)
            "SINGLE_LOGOUT": self.single_logout,
            "REVOCATION": self.revocation,
            "DPOP": "1" if self.options["bound"] else "0",
        }
        of_upstream = {"URL": self.issuer, "PROVIDER": self.name, "PATHS": "/me"}
        return {f"OAUTH_{named}_{key}": value for key, value in of_provider.items()} | {
            f"UPSTREAM_{named}_{key}": value for key, value in of_upstream.items()
        }

    @contextmanager
    def running(self, log: Path) -> Iterator[None]:
        """Run it. Fails, instead of skipping, if Node or its packages are missing."""
        node = shutil.which("node")
        assert node, "Node 20 or newer is needed: it runs oidc-provider."
        installed = FOLDER / "node_modules/oidc-provider/package.json"
        assert installed.is_file(), "oidc-provider is not installed: run `make interop`."
        command = [node, str(FOLDER / "server.js"), json.dumps(self.options)]
        with running(command, {"PATH": os.environ["PATH"]}, log, self.port):
            yield

    def rotate_keys(self) -> None:
        self._control("rotate")

    def respond_later(self, path: str, seconds: float) -> None:
        self._control("slow", path=path, ms=str(int(seconds * 1000)))

    def seen(self, method: str, path: str, grant: str | None = None) -> list[int]:
        """Return the response statuses of such requests."""
        return [
            each["status"]
            for each in self._control("seen")
            if (each["method"], each["path"]) == (method, path) and each["grant"] == grant
        ]

    def _control(self, what: str, **parameters: str) -> Any:
        response = requests.get(
            f"http://127.0.0.1:{self.port}/_control/{what}", parameters, timeout=10
        )
        return response.json()
