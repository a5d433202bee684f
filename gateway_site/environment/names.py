"""Names of variables, whatever they are of."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

FILE = "_FILE"  # ends the variable that names the file which holds a secret

# What Kubernetes tells every container of the services beside it. One may be called as a
# provider or an upstream is here.
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
SERVICE_LINK = re.compile(
    r".+_(?:SERVICE_HOST|SERVICE_PORT(?:_.+)?|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)"
    r"(?:_(?:PROTO|PORT|ADDR))?)?)"
)


def nearest(name: str, known: Iterable[str], cutoff: float) -> str | None:
    """Return the name that is spelt most alike, if at least so alike (0 to 1)."""
    found = difflib.get_close_matches(name, sorted(known), 1, cutoff)
    return found[0] if found else None
