"""The scope of a token response: which of its names a token set stores.

A server may grant any number of names of any length. Each page and each call reads the token set,
so only SCOPE_MAX bytes of valid names are stored, those that were requested first.
"""

import logging
import re
from collections.abc import Collection, Iterable, Iterator

logger = logging.getLogger(__name__)

SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749 section 3.3
SCOPE_MAX = 16 * 1024  # bytes of all names, with a space after each


def split_scope(scope: str) -> tuple[str, ...]:
    """Split a scope at spaces (RFC 6749 section 3.3) or at commas (GitHub)."""
    return tuple(dict.fromkeys(re.findall(r"[^\s,]+", scope)))


def parse_scope(scope: object, requested: Collection[str], *, source: str) -> tuple[str, ...]:
    """Return the names to store of a response's scope, which may be a list.

    Without a scope, the requested one was granted (RFC 6749 section 5.1). What is not stored is
    dropped, and its number logged for ``source``, the name of the provider or server. Raises
    TypeError for a scope that is neither text nor a list.
    """
    names, others = _names_in(scope, requested)
    first = frozenset(requested)
    kept = tuple(_fitting(sorted(names, key=lambda each: each not in first)))
    if dropped := others + len(names) - len(kept):
        logger.warning(
            "%s granted %d scopes that are not stored: they are malformed, or over %d bytes.",
            source,
            dropped,
            SCOPE_MAX,
        )
    return kept


def _names_in(scope: object, requested: Collection[str]) -> tuple[Collection[str], int]:
    """Return the different names of a scope, and the number of items that are no text."""
    if scope is None:
        return dict.fromkeys(requested), 0
    if isinstance(scope, str):
        return split_scope(scope), 0
    if not isinstance(scope, list):
        raise TypeError("The scope is neither text nor a list.")
    texts = [each for each in scope if isinstance(each, str)]
    return split_scope(" ".join(texts)), len(scope) - len(texts)


def _fitting(names: Iterable[str]) -> Iterator[str]:
    size = 0
    for each in names:
        if size + len(each) < SCOPE_MAX and SCOPE.fullmatch(each):
            size += len(each) + 1
            yield each
