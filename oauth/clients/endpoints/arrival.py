"""When a request arrived: it may have waited since, for its body and for a thread.

Whoever takes requests puts `time.perf_counter()` of that moment into the attribute; without it,
now counts. The age of what a request presents is counted to then.
"""

from __future__ import annotations

from time import perf_counter

from django.http import HttpRequest

from sessions_kms.services import services

ATTRIBUTE = "arrived"


def arrival_of(request: HttpRequest) -> float:
    """Return when a request arrived, by the clock of the session store."""
    waited = perf_counter() - float(getattr(request, ATTRIBUTE, perf_counter()))
    return services().clock() - max(waited, 0.0)
