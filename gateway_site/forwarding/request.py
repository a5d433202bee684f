"""Django's request, as this gateway makes it."""

from __future__ import annotations

from django.core.handlers.asgi import ASGIRequest


class Request(ASGIRequest):
    """Remembers which host it was found to be allowed for: several ask, for each request."""

    _allowed: tuple[str | None, ...] | None = None

    def get_host(self) -> str:
        """Return the host. Raises DisallowedHost."""
        named = self.META.get("HTTP_HOST"), self.META.get("HTTP_X_FORWARDED_HOST")
        if named[0] is None or self._allowed is None or self._allowed[:2] != named:
            self._allowed = (*named, super().get_host())
        return str(self._allowed[2])
