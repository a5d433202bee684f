"""The scope of a token response: which of its names a token set stores.

A server may grant any number of names of any length. Each page and each call reads the token set,
so only SCOPE_MAX bytes of valid names are stored, those that were requested first.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Iterator

logger = logging.getLogger(__name__)

SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749 section 3.3
SCOPE_MAX = 16 * 1024  # bytes of all names, with a space after each


def split_scope(scope: str) -> tuple[str, ...]:
    """Split a scope at spaces (RFC 6749 section 3.3) or at commas (GitHub)."""
    return tuple(dict.fromkeys(re.split(r"[\s,]+", scope.strip()))) if scope.strip() else ()


def parse_scope(scope: object, requested: Collection[str], *, source: str) -> tuple[str, ...]:
    """Return the names to store of a response's scope, which may be a list.

    Without a scope, the requested one was granted (RFC 6749 section 5.1). What is not stored is
    dropped, and its number logged for ``source``, the name of the provider or server. Raises
    ValueError for a scope that is neither text nor a list.
    """
    listed: Collection[object]
    if scope is None:
        listed = requested
    elif isinstance(scope, str | list):
        listed = [scope] if isinstance(scope, str) else scope
    else:
        raise ValueError("The scope is neither text nor a list.")
    texts = [each for each in listed if isinstance(each, str)]
    names = dict.fromkeys(name for each in texts for name in split_scope(each))
    first = frozenset(requested)
    kept = tuple(_fitting(sorted(names, key=lambda each: each not in first)))
    if dropped := len(listed) - len(texts) + len(names) - len(kept):
        logger.warning(
            "%s granted %d scopes that are not stored: they are malformed, or over %d bytes.",
            source,
            dropped,
            SCOPE_MAX,
        )
    return kept


def _fitting(names: Iterable[str]) -> Iterator[str]:
    size = 0
    for each in names:
        if size + len(each) < SCOPE_MAX and SCOPE.fullmatch(each):
            size += len(each) + 1
            yield each
