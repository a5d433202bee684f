"""The variables of one provider, each with an error that names it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from gateway_site.environment import reading
from gateway_site.environment.addresses import LOOPBACK_HOSTS


class Variables(reading.Variables):
    """The variables of one provider; ``name`` is the one that its addresses have."""

    def __init__(self, environment: Mapping[str, str], name: str) -> None:
        super().__init__(environment, f"OAUTH_{name}_")
        self.name = name.lower()

    def origin(self, suffix: str, url: str) -> str:
        """Return the origin of an https URL.

        Plain http is good for this machine, and where the provider's ALLOW_HTTP is 1.
        """
        try:
            return _origin(url, allow_http=bool(self.flag("ALLOW_HTTP")))
        except ValueError:
            raise self.error(
                suffix,
                "must be an https:// address, without user name, query or fragment. http:// is "
                f"good on loopback; in a private network {self.variable('ALLOW_HTTP')}=1 allows "
                "it.",
            ) from None


def _origin(url: str, *, allow_http: bool) -> str:
    parts = urlsplit(url)
    port, host = parts.port, parts.hostname or ""
    local = allow_http or host in LOOPBACK_HOSTS
    secure = parts.scheme == "https" or (parts.scheme == "http" and local)
    plain = re.fullmatch(r"[A-Za-z0-9.:/\[\]_~%-]+", url) is not None
    if not (host and secure and plain):
        raise ValueError
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")
