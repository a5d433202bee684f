"""A published document that may be at one of several addresses (RFC 8615).

The addresses are requested in their order, within a time limit for all of them. Redirects are not
followed.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from oauth.codes import Code
from oauth.exceptions import ProviderUnavailable
from oauth.network import http
from oauth.network.vetted_addresses import Reach

TOTAL_TIMEOUT = 10.0  # seconds for all addresses
# A server that answers an unknown path with a page says this of its document; so does a long page
# with the status 404.
UNREADABLE = {Code.ANSWER_COMPRESSED, Code.ANSWER_TOO_LONG, Code.ANSWER_UNREADABLE}


@dataclass(frozen=True)
class PublishedDocument:
    """A JSON object, the address that it came from, and the server's IP address if it is known."""

    url: str
    members: dict[str, Any] = field(repr=False)
    peer: str | None


class NoDocument(ProviderUnavailable):
    """None of the addresses has a document."""


def well_known_url(url: str, suffix: str) -> str:
    """Return the address with a well-known suffix between host and path (RFC 8414 section 3.1)."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/.well-known/{suffix}{parts.path.rstrip('/')}"


def fetch_document(urls: Iterable[str], *, reach: Reach, remedy: str) -> PublishedDocument:
    """Return the first document.

    Raises NoDocument if each address answers without one, and ProviderUnavailable if one does not
    answer now: it may have the document that counts.
    """
    unreadable: ProviderUnavailable | None = None
    end = time.monotonic() + TOTAL_TIMEOUT
    for url in dict.fromkeys(urls):
        if (left := end - time.monotonic()) <= 0:
            raise ProviderUnavailable("The metadata takes too long.", Code.TIMEOUT)
        try:
            found = _fetch(url, reach, min(left, http.GET_TIMEOUT), remedy)
        except ProviderUnavailable as exc:
            if exc.code not in UNREADABLE:
                raise
            unreadable = exc.with_traceback(None)
        else:
            if found is not None:
                return found
    if unreadable is not None:
        raise NoDocument(str(unreadable), unreadable.code)
    raise NoDocument("There is no metadata.", Code.METADATA_STATUS)


def _fetch(url: str, reach: Reach, timeout: float, remedy: str) -> PublishedDocument | None:
    """Return the document at an address, None if the server says that there is none."""
    response = http.get(url, reach=reach, timeout=timeout, remedy=remedy)
    if response.is_overloaded:
        raise ProviderUnavailable("The metadata cannot be fetched now.", Code.METADATA_STATUS)
    if response.status != 200:
        return None
    return PublishedDocument(url, response.parse_document(), response.peer)
