"""How a client authenticates at the token endpoint: the methods that its metadata names. Pure.

`token_endpoint_auth_method` is the method that the client prefers (RFC 7591 section 2), and
`token_endpoint_auth_methods_supported` are all that it can use (OpenID Connect Relying Party
Metadata Choices 1.0): one document is for every server, and each takes a method that both support.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from oauth.clients.rules.errors import UnknownClient

NONE: Final = "none"

METHOD: Final = "token_endpoint_auth_method"
METHODS: Final = "token_endpoint_auth_methods_supported"
METHODS_MAX: Final = 16
METHOD_NAME: Final = re.compile(r"[a-z0-9_]{1,40}")


def read_methods(members: Mapping[str, Any]) -> frozenset[str]:
    """Return the methods that a client's metadata supports. Raises UnknownClient if unreadable."""
    named = members.get(METHODS, [members.get(METHOD, NONE)])
    if not isinstance(named, list) or len(named) > METHODS_MAX or not all(map(_is_method, named)):
        raise UnknownClient("The client's document does not say how the client authenticates.")
    return frozenset(named)


def _is_method(value: object) -> bool:
    return isinstance(value, str) and METHOD_NAME.fullmatch(value) is not None
