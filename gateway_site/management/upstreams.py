"""The upstream that an operator names on the command line."""

from django.conf import settings

from gateway_site.rules.upstream import Upstream
from sessions_kms.management.base import shown, unknown


def find_upstream(name: str) -> Upstream:
    """Return an upstream. Raises UsageError, which names those that there are."""
    upstreams: dict[str, Upstream] = settings.UPSTREAMS
    if name not in upstreams:
        raise unknown(f"There is no upstream {shown(name)}.", name, sorted(upstreams), cutoff=0.0)
    return upstreams[name]
