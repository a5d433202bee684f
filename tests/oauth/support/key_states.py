"""Processes that share sessions but have different SECRET_KEYs, simulated one at a time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from django.test import override_settings

from gateway_site.forwarding.calls.user_cache import user_cache
from oauth.sign_in import session_user

OLD = "old-0123456789abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNO"
NEW = "new-0123456789abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNO"
NOW = time.time()


@dataclass
class KeyProcess:
    """One process: its keys, and its start time in seconds after the start of the test."""

    key: str
    fallbacks: tuple[str, ...] = ()
    started: float = -1000

    @contextmanager
    def serving(self, at: float) -> Iterator[None]:
        """Act as this process, at a time in seconds after the start of the test."""
        keys: dict[str, Any] = {
            "SECRET_KEY": self.key,
            "SECRET_KEY_FALLBACKS": list(self.fallbacks),
        }
        with (
            override_settings(**keys),
            patch.object(session_user, "started_at", NOW + self.started),
            patch.object(session_user, "clock", lambda: NOW + at),
        ):
            user_cache.cache_clear()  # another process has another cache
            try:
                yield
            finally:
                user_cache.cache_clear()

    def does(self, what: Callable[[], Any], at: float) -> Any:
        """Call a function as this process; return its result."""
        with self.serving(at):
            return what()
