"""Django's request, as this gateway makes it."""

from __future__ import annotations

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest

# Attributes by which Django has a request refer to itself: its person, and its messages.
REFERRING = ("user", "auser", "_messages")
# Those of its body, up to megabytes, as it came and as it was read.
OF_BODY = ("_body", "_post", "_files")


class Request(ASGIRequest):
    """Remembers which host it was found to be allowed for: several ask, for each request."""

    _allowed: tuple[str | None, ...] | None = None

    def get_host(self) -> str:
        """Return the host. Raises DisallowedHost."""
        named = self.META.get("HTTP_HOST"), self.META.get("HTTP_X_FORWARDED_HOST")
        if named[0] is None or self._allowed is None or self._allowed[:2] != named:
            self._allowed = (*named, super().get_host())
        return str(self._allowed[2])


def finish(request: HttpRequest) -> None:
    """Have a request that nobody asks any more hold no body, and not refer to itself.

    It would wait for the collector, which looks seldom, with its session and tokens; with those of
    pages, which Django's templates keep, anybody could fill the memory by what they send.
    """
    for name in REFERRING + OF_BODY:
        vars(request).pop(name, None)
