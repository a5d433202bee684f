"""One call of an upstream that was admitted: what the view decides, and the proxy carries out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from gateway_site.forwarding.request import finish
from gateway_site.rules.headers import Headers
from gateway_site.rules.upstream import Upstream
from gateway_site.transport.connections import Owner


@dataclass(kw_only=True, eq=False)
class Call:
    """One admitted call of an upstream. `target` is the whole URL."""

    request: HttpRequest = field(repr=False)
    owner: Owner = field(repr=False)
    upstream: Upstream
    method: str
    target: str = field(repr=False)
    headers: Headers = field(repr=False)
    framing: Headers
    script_name: str = ""

    def release(self) -> None:
        """Let go of the request, with its session and tokens; more than once does no harm.

        An answer may stream for an hour, and a call that is aborted may have none.
        """
        request = vars(self).pop("request", None)
        if request is not None:
            finish(request)
        self.headers = []


class Admitted(HttpResponse):
    """Nothing to send: the call may be made, and its answer gets this response's headers."""

    def __init__(self, call: Call) -> None:
        # Told, or Django looks for it in the headers that there are none of.
        super().__init__(content_type=f"text/html; charset={settings.DEFAULT_CHARSET}")
        self.call = call

    def close_untold(self) -> None:
        """Do what `close` does, but for telling that the request has finished."""
        closers: list[Callable[[], object]] = vars(self)["_resource_closers"]
        for close in closers:
            with suppress(Exception):
                close()
        closers.clear()
        self.closed = True
