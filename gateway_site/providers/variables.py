"""The variables of one provider, each with an error that names it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from gateway_site.environment.reading import FALSE, LOOPBACK_HOSTS, TRUE


class Variables:
    """The variables of one provider; ``name`` is the one that its addresses have."""

    def __init__(self, environment: Mapping[str, str], name: str) -> None:
        self._environment = environment
        self._prefix = f"OAUTH_{name}_"
        self.name = name.lower()

    def variable(self, suffix: str) -> str:
        """Return the whole name of a variable."""
        return self._prefix + suffix

    def error(self, suffix: str, what: str) -> ImproperlyConfigured:
        """Return an error that begins with the variable's name."""
        return ImproperlyConfigured(f"{self.variable(suffix)} {what}")

    def text(self, suffix: str) -> str:
        """Return the variable without surrounding blanks, empty where it is unset."""
        return self._environment.get(self.variable(suffix), "").strip()

    def list(self, suffix: str) -> tuple[str, ...]:
        """Return what commas or blanks separate."""
        return tuple(re.split(r"[\s,]+", self.text(suffix))) if self.text(suffix) else ()

    def flag(self, suffix: str) -> bool | None:
        """Return whether the variable is on, None where it is unset."""
        value = self.text(suffix).lower()
        if value not in TRUE | FALSE:
            raise self.error(suffix, "must be 1 or 0.")
        return value in TRUE if value else None

    def refuse(self, suffixes: Iterable[str], why: str) -> None:
        """Raise ImproperlyConfigured for the first of these variables that is set."""
        for suffix in suffixes:
            if self.text(suffix):
                raise self.error(suffix, why)

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
