"""One request to a provider, bounded in time and size, that follows no redirect.

An address and a form enter, an `Answer` leaves. Every failure is a
`ProviderUnavailable` without its cause, whose frames hold what was sent.

Each request has a connection of its own: one kept open may have been closed by the
provider meanwhile, and then nobody could tell whether a refresh token was spent.

An address that a provider named leads to the networks that the caller allows only
(`oauth.network.vetted_addresses`). Through a proxy the proxy looks names up, and must see to it.

No SQL connection is held meanwhile: a slow provider would soon have them all.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import ssl
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2

from oauth.codes import Code
from oauth.exceptions import ProviderRefused, ProviderUnavailable
from oauth.network.name_lookup import BoundedLoop
from oauth.network.sql_connections import give_back
from oauth.network.vetted_addresses import PUBLIC, AddressRefused, Reach, VettedTransport

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 3.0  # seconds
GET_TIMEOUT = 5.0  # seconds for the whole of it, from the connection to the last byte
POST_TIMEOUT = 10.0  # seconds, likewise
FORM = "application/x-www-form-urlencoded"
ANSWER_MAX = 256 * 1024  # bytes; several tokens of 32 KiB
DOCUMENT_MAX = 64 * 1024  # bytes of metadata, a set of keys, userinfo
DEPTH_MAX = 20  # of JSON
CA_FILES_MAX = 64  # there are as many as are configured
PERSON = re.compile("(?<=/memberships/)[^/]+$")
REMEDY = (
    "If that is meant, let the provider's OAUTH_<NAME>_ALLOW_PRIVATE be 1 "
    '(its "allow_private" in SOCIALACCOUNT_PROVIDERS).'
)
HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",  # so that the bound is one of what is read
    "User-Agent": "django-gateway",
}


@dataclass(frozen=True, repr=False)
class Answer:
    """What a provider answered: the status, the media type and the body.

    ``peer`` is the address that gave it, None where a proxy stood between. ``location`` is where
    a redirect, which is not followed, leads; ``date`` is the answer's own, and
    ``certificate_end`` that of the server's certificate (`notAfter`), where there is one.
    ``challenge`` is its WWW-Authenticate, ``dpop_nonce`` the nonce that it asks for from now on
    (RFC 9449). ``cache_control`` tells for how long it may be kept.
    """

    status: int
    media_type: str
    body: bytes
    peer: str | None = None
    location: str | None = None
    date: str | None = None
    certificate_end: str | None = None
    challenge: str = ""
    dpop_nonce: str | None = None
    cache_control: str = ""

    def __repr__(self) -> str:
        """Show the status, never the body."""
        return f"Answer({self.status}, {len(self.body)} bytes)"

    def content(self) -> dict[str, Any]:
        """Return the members of the body: a JSON object, or a form as GitHub answers.

        Raises ProviderUnavailable when it is neither.
        """
        __traceback_hide__ = True
        try:
            if self.media_type == FORM:
                return dict(parse_qsl(self.body.decode(), strict_parsing=True))
            content = json.loads(self.body)
        except (RecursionError, ValueError):
            raise self._unreadable(
                "HTML" if self.media_type == "text/html" else "no JSON"
            ) from None
        if not isinstance(content, dict):
            raise self._unreadable("no JSON object")
        if not is_shallow(content):
            raise self._unreadable("nested too deeply")
        return content

    def _unreadable(self, what: str) -> ProviderUnavailable:
        return ProviderUnavailable(
            f"The provider's answer cannot be read: it is {what}, with the status {self.status}.",
            Code.ANSWER_UNREADABLE,
        )

    def tokens(self) -> dict[str, Any]:
        """Return the members of a token response.

        Raises ProviderUnavailable when there is none to be had now, ProviderRefused when
        the provider gives none.
        """
        __traceback_hide__ = True
        if self.is_overloaded or 300 <= self.status < 400:
            raise ProviderUnavailable("The provider gives no tokens now.", Code.TOKEN_STATUS)
        content = self.content()
        if self.status != 200 or content.get("error") is not None:
            raise ProviderRefused(
                "The provider gives no tokens for this.",
                Code.of_answer("token", content.get("error")),
            )
        return content

    @property
    def is_overloaded(self) -> bool:
        """Tell whether the provider says that it cannot work now (RFC 9110, RFC 6585)."""
        return self.status >= 500 or self.status == 429


def is_shallow(content: object, levels: int = DEPTH_MAX) -> bool:
    """Tell whether JSON is nested in so many levels at most."""
    if not isinstance(content, dict | list):
        return True
    members = content.values() if isinstance(content, dict) else content
    return levels > 0 and all(is_shallow(each, levels - 1) for each in members)


def get(
    url: str,
    *,
    reach: Reach = PUBLIC,
    headers: Mapping[str, str] | None = None,
    patience: float | None = None,
    most: int = DOCUMENT_MAX,
    remedy: str = REMEDY,
) -> Answer:
    """Get a document of so many bytes at ``most``. Raises ProviderUnavailable.

    ``remedy`` is what the log says of an address that is out of reach.
    """
    __traceback_hide__ = True
    return ask(
        "GET", url, headers or {}, None, reach=reach, patience=patience, most=most, remedy=remedy
    )


def post(
    url: str,
    form: Mapping[str, str],
    headers: Mapping[str, str],
    *,
    reach: Reach = PUBLIC,
    patience: float | None = None,
) -> Answer:
    """Post a form; ``patience`` is in seconds. Raises ProviderUnavailable."""
    __traceback_hide__ = True
    body = urlencode(form).encode()
    headers = {**headers, "Content-Type": FORM}
    return ask("POST", url, headers, body, reach=reach, patience=patience)


def ask(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    *,
    reach: Reach = PUBLIC,
    patience: float | None = None,
    most: int = ANSWER_MAX,
    remedy: str = REMEDY,
) -> Answer:
    """Ask within a deadline, which only an event loop can hold: headers may drip as well.

    ``patience`` is in seconds. Raises ProviderUnavailable.
    """
    __traceback_hide__ = True
    seconds = patience or (GET_TIMEOUT if method == "GET" else POST_TIMEOUT)
    refused: AddressRefused | None = None
    code = Code.UNREACHABLE
    give_back()
    try:
        return _run(_within(seconds, _ask(method, url, headers, body, reach=reach, most=most)))
    except AddressRefused as exc:
        refused = exc.with_traceback(None)
    except (TimeoutError, httpx2.TimeoutException):
        code = Code.TIMEOUT
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as exc:
        code = Code.TLS if _is_of_tls(exc) else code
    if refused is not None:
        # The name alone: a path or a query may hold what is secret.
        logger.error("%s is not asked: %s %s", _host(url), refused, remedy)
        code = Code.ADDRESS_REFUSED
    raise ProviderUnavailable("The provider cannot be reached.", code)


def _is_of_tls(error: BaseException | None) -> bool:
    """Tell whether it was TLS, of which httpx2 tells by the cause alone."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def proxy_of(url: str) -> str | None:
    """Return the proxy that the environment names for an address (HTTPS_PROXY, NO_PROXY)."""
    parts = urlsplit(url)
    names = (parts.hostname, parts.netloc.rpartition("@")[2])
    if not parts.hostname or any(proxy_bypass(name) for name in names if name):
        return None
    found = getproxies()
    proxy = found.get(parts.scheme) or found.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def _run(work: Coroutine[Any, Any, Answer]) -> Answer:
    """Run in an event loop of its own, and leave it when the work is done or given up.

    `asyncio.run` would first wait for a name that is still being looked up.
    """
    __traceback_hide__ = True
    loop = BoundedLoop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _within(seconds: float, work: Coroutine[Any, Any, Answer]) -> Answer:
    __traceback_hide__ = True
    async with asyncio.timeout(seconds):
        return await work


async def _ask(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    *,
    reach: Reach,
    most: int,
) -> Answer:
    __traceback_hide__ = True
    async with (
        _client(url, reach) as client,
        client.stream(method, url, content=body, headers={**HEADERS, **headers}) as response,
    ):
        certificate_end = _certificate_end(response)  # while the connection stands
        content = await _read(response, most)
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return Answer(
            response.status_code,
            kind,
            content,
            response.extensions.get("peer"),
            response.headers.get("Location"),
            response.headers.get("Date"),
            certificate_end,
            response.headers.get("WWW-Authenticate", ""),
            response.headers.get("DPoP-Nonce"),
            response.headers.get("Cache-Control", ""),
        )


def _client(url: str, reach: Reach) -> httpx2.AsyncClient:
    proxy, tls = proxy_of(url), _tls(reach.ca_file)
    return httpx2.AsyncClient(
        proxy=proxy,
        transport=None if proxy else VettedTransport(reach, verify=tls),
        verify=tls,
        timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT),
        follow_redirects=False,
        trust_env=False,
    )


async def _read(response: httpx2.Response, most: int) -> bytes:
    __traceback_hide__ = True
    body = bytearray()
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise ProviderUnavailable(
            "The provider's answer is compressed, unasked.", Code.ANSWER_COMPRESSED
        )
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > most:
            raise ProviderUnavailable("The provider's answer is too long.", Code.ANSWER_TOO_LONG)
    return bytes(body)


def _certificate_end(response: httpx2.Response) -> str | None:
    stream = response.extensions.get("network_stream")
    tls = stream.get_extra_info("ssl_object") if stream is not None else None
    found = tls.getpeercert() if tls is not None else None
    return str(found["notAfter"]) if found and "notAfter" in found else None


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or "A host without a name"
    except ValueError:
        return "A host without a name"


def tls_context(ca_file: str | None = None) -> ssl.SSLContext:
    """Return what checks a server: by the certificates of a file, else the public authorities'.

    It takes tens of milliseconds to make.
    """
    if ca_file is not None:
        return ssl.create_default_context(cafile=ca_file)
    return httpx2.create_ssl_context()


@lru_cache(maxsize=CA_FILES_MAX)
def _tls(ca_file: str | None) -> ssl.SSLContext:
    return tls_context(ca_file)


def _shortened(url: httpx2.URL) -> httpx2.URL:
    return url.copy_with(query=None, path=PERSON.sub("-", url.path))


class _DropQuery(logging.Filter):
    """Keeps the query out of httpx2's line of a request: in it some providers want their secret.

    And whose membership of a team GitHub is asked for.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten the address in place, and keep the record."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                _shortened(each) if isinstance(each, httpx2.URL) else each for each in record.args
            )
        return True


logging.getLogger("httpx2").addFilter(_DropQuery())
