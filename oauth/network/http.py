"""One HTTP request to a provider, limited in time and size, without following redirects.

Takes a URL and a form, returns a `ProviderResponse`. Every failure is a `ProviderUnavailable`
without its cause, because the cause's frames hold what was sent.

Each request opens its own connection. The provider may close a pooled connection at any time, and
then it would be unknown whether a refresh token was used.

A URL from a provider's documents is only requested in the networks that the caller allows
(`oauth.network.vetted_addresses`). A proxy resolves host names itself and must do this check.

No SQL connection is held during a request: a slow provider would soon occupy all of them.
"""

import asyncio
import logging
import re
import ssl
from collections.abc import Coroutine, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2

from oauth.codes import Code
from oauth.exceptions import ProviderBusy, ProviderUnavailable
from oauth.network.concurrency import release_sql_connections
from oauth.network.responses import FORM, ProviderResponse
from oauth.network.vetted_addresses import (
    PUBLIC,
    AddressRejected,
    BoundedLoop,
    Reach,
    VettedTransport,
)
from sessions_kms.http.descriptors import is_caused_by_exhaustion

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 3.0  # seconds
GET_TIMEOUT = 5.0  # seconds for the whole request, from connecting to the last byte
POST_TIMEOUT = 10.0  # seconds, likewise
RESPONSE_MAX = 256 * 1024  # bytes; several tokens of 32 KiB
DOCUMENT_MAX = 64 * 1024  # bytes of metadata, of a JWK Set or of userinfo
CA_FILES_MAX = 64  # cached TLS contexts; one for each configured file
PERSON = re.compile("(?<=/memberships/)[^/]+$")
REMEDY = (
    "If this is intended, set the provider's OAUTH_<NAME>_ALLOW_PRIVATE to 1 "
    '("allow_private" in SOCIALACCOUNT_PROVIDERS).'
)
HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",  # so that the size limit counts the bytes that are read
    "User-Agent": "django-gateway",
}


def get(
    url: str,
    *,
    reach: Reach = PUBLIC,
    headers: Mapping[str, str] | None = None,
    timeout: float | None = None,
    max_bytes: int = DOCUMENT_MAX,
    remedy: str = REMEDY,
) -> ProviderResponse:
    """Get a document of at most ``max_bytes``. Raises ProviderUnavailable.

    ``remedy`` is added to the log message if the address is not allowed.
    """
    __traceback_hide__ = True
    return request(
        "GET",
        url,
        headers or {},
        None,
        reach=reach,
        timeout=timeout,
        max_bytes=max_bytes,
        remedy=remedy,
    )


def post(
    url: str,
    form: Mapping[str, str],
    headers: Mapping[str, str],
    *,
    reach: Reach = PUBLIC,
    timeout: float | None = None,
) -> ProviderResponse:
    """Post a form; ``timeout`` is in seconds. Raises ProviderUnavailable."""
    __traceback_hide__ = True
    body = urlencode(form).encode()
    headers = {**headers, "Content-Type": FORM}
    return request("POST", url, headers, body, reach=reach, timeout=timeout)


def request(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    *,
    reach: Reach = PUBLIC,
    timeout: float | None = None,
    max_bytes: int = RESPONSE_MAX,
    remedy: str = REMEDY,
) -> ProviderResponse:
    """Send a request and read the response within ``timeout`` seconds in total.

    Only an event loop can enforce the total: even headers may arrive byte by byte. Raises
    ProviderUnavailable, ProviderBusy if this process has no file descriptor left.
    """
    __traceback_hide__ = True
    seconds = timeout or (GET_TIMEOUT if method == "GET" else POST_TIMEOUT)
    refused: AddressRejected | None = None
    code, is_exhausted = Code.UNREACHABLE, False
    release_sql_connections()
    try:
        return _run(
            _send(method, url, headers, body, reach=reach, max_bytes=max_bytes, seconds=seconds)
        )
    except AddressRejected as exc:
        refused = exc.with_traceback(None)
    except (TimeoutError, httpx2.TimeoutException):
        code = Code.TIMEOUT
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as exc:
        is_unsent = isinstance(exc, httpx2.ConnectError | OSError)
        is_exhausted = is_unsent and is_caused_by_exhaustion(exc)
        code = Code.TLS if _is_tls_error(exc) else code
    if is_exhausted:
        logger.error("Request to %s not sent: no file descriptor was left.", _host_of(url))
        raise ProviderBusy("This process has no file descriptor left.")
    if refused is not None:
        # Only the host: a path or a query may contain secrets.
        logger.error("Request to %s rejected: %s %s", _host_of(url), refused, remedy)
        code = Code.ADDRESS_REFUSED
    raise ProviderUnavailable("The provider cannot be reached.", code)


def _is_tls_error(error: BaseException | None) -> bool:
    """Return True if TLS failed; httpx2 shows this only in the cause."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def proxy_of(url: str) -> str | None:
    """Return the proxy for a URL from the environment (HTTPS_PROXY, NO_PROXY)."""
    parts = urlsplit(url)
    names = (parts.hostname, parts.netloc.rpartition("@")[2])
    if not parts.hostname or any(proxy_bypass(name) for name in names if name):
        return None
    found = getproxies()
    proxy = found.get(parts.scheme) or found.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def _run(work: Coroutine[Any, Any, ProviderResponse]) -> ProviderResponse:
    """Run in a new event loop, and close it when the work is done or has timed out.

    `asyncio.run` would wait for a DNS lookup that is still running.
    """
    __traceback_hide__ = True
    loop = BoundedLoop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _send(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    *,
    reach: Reach,
    max_bytes: int,
    seconds: float,
) -> ProviderResponse:
    __traceback_hide__ = True
    async with (
        asyncio.timeout(seconds),
        _client(url, reach) as client,
        client.stream(method, url, content=body, headers={**HEADERS, **headers}) as response,
    ):
        certificate_end = _certificate_end(response)  # while the connection is open
        content = await _read_body(response, max_bytes)
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return ProviderResponse(
            response.status_code,
            media_type,
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
    proxy, tls = proxy_of(url), _cached_tls_context(reach.ca_file)
    return httpx2.AsyncClient(
        proxy=proxy,
        transport=None if proxy else VettedTransport(reach, verify=tls),
        verify=tls,
        timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT),
        follow_redirects=False,
        trust_env=False,
    )


async def _read_body(response: httpx2.Response, max_bytes: int) -> bytes:
    __traceback_hide__ = True
    body = bytearray()
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise ProviderUnavailable(
            "The provider's response is compressed although that was not requested.",
            Code.ANSWER_COMPRESSED,
        )
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > max_bytes:
            raise ProviderUnavailable("The provider's response is too long.", Code.ANSWER_TOO_LONG)
    return bytes(body)


def _certificate_end(response: httpx2.Response) -> str | None:
    stream = response.extensions.get("network_stream")
    tls = stream.get_extra_info("ssl_object") if stream is not None else None
    found = tls.getpeercert() if tls is not None else None
    return str(found["notAfter"]) if found and "notAfter" in found else None


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or "A host without a name"
    except ValueError:
        return "A host without a name"


def tls_context(ca_file: str | None = None) -> ssl.SSLContext:
    """Return a context that trusts the certificates of a file, or else the public authorities.

    Creating one takes tens of milliseconds.
    """
    if ca_file is not None:
        return ssl.create_default_context(cafile=ca_file)
    return httpx2.create_ssl_context()


@lru_cache(maxsize=CA_FILES_MAX)
def _cached_tls_context(ca_file: str | None) -> ssl.SSLContext:
    return tls_context(ca_file)


def _redact_url(url: httpx2.URL) -> httpx2.URL:
    return url.copy_with(query=None, path=PERSON.sub("-", url.path))


class _RedactUrls(logging.Filter):
    """Removes secrets from the URLs that httpx2 logs.

    These are the query, in which some providers expect their secret, and the user name in a request
    for a GitHub team membership.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the URLs of the record in place, and keep the record."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                _redact_url(each) if isinstance(each, httpx2.URL) else each for each in record.args
            )
        return True


logging.getLogger("httpx2").addFilter(_RedactUrls())
