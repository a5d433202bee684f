"""Error pages that are rendered at start, for where no thread may be spent on one.

They are the 503 page, since no thread may be free, and the pages for requests that the server
rejects before the application: an attacker may send these by the thousand. What differs between
two requests, the id and a time, is put into the bytes.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from http import HTTPStatus
from itertools import product
from typing import Any, NamedTuple

from django.conf import settings
from django.http import HttpResponse
from django.template import loader
from django.utils import translation
from django.utils.cache import patch_vary_headers

from gateway_site.edge import access_log, languages, oauth_errors
from gateway_site.edge.client import Scope
from gateway_site.forwarding.fixed_headers import fixed_headers
from gateway_site.rules import origin, problems

SAFE_METHODS = frozenset({"GET", "HEAD"})
TEMPLATE = "error.html"  # for each status without a template of its own
DECIDED_BY = ("Accept", "Accept-Language", "Cookie", "Sec-Fetch-Dest")
# In the prepared pages, in place of the request's id and of the seconds until a reload.
ID_MARK, SECONDS_MARK = "request-id-of-this-page", "seconds-of-this-page"
SECONDS_DIGITS = 5
UNAVAILABLE = HTTPStatus.SERVICE_UNAVAILABLE
EXPLAINED = ("", "provider_unavailable", "nonce_required")  # codes with a text of their own
BOTH = (True, False)
REJECTED = (400, 408, 414, 431, 501, 505)  # by `server.protocol` and `server.rejections`


class _Key(NamedTuple):
    """What decides about a prepared page."""

    language: str
    status: int
    code: str = ""
    is_repeatable: bool = False
    has_id: bool = True


class PreparedPages:
    """The pages by language, status and cause."""

    def __init__(self) -> None:
        """Render all of them."""
        self._headers = fixed_headers()
        self._contents = {key: _render(key) for key in _list_keys()}

    def unavailable(self, scope: Scope, code: str = "", retry_after: str = "") -> HttpResponse:
        """Return the 503 page; after a GET it reloads itself when `Retry-After` has passed."""
        # An authorization code is valid for one request (RFC 6749 section 4.1.2).
        has_code = b"code=" in scope.get("query_string", b"")
        is_repeatable = scope["method"] in SAFE_METHODS and not has_code
        page = self._make(scope, UNAVAILABLE, code, is_repeatable=is_repeatable)
        is_number = retry_after.isdecimal() and len(retry_after) <= SECONDS_DIGITS
        seconds = retry_after if is_number else str(problems.RETRY_AFTER)
        page.content = page.content.replace(SECONDS_MARK.encode(), seconds.encode("ascii"))
        page.headers["Retry-After"] = seconds
        return self.complete(scope, page)

    def rejection(
        self, scope: Scope, status: int
    ) -> tuple[list[tuple[bytes, bytes]], bytes] | None:
        """Return headers and body for a rejected request; None if a program reads the response.

        The scope may be that of a request of which only a part was read. Cookies are not, since
        there may be 64 KB of them: the language is that of the browser.
        """
        if status not in (*REJECTED, UNAVAILABLE) or not is_shown(scope):
            return None
        headers = [pair for pair in scope["headers"] if pair[0].lower() != b"cookie"]
        scope = {**scope, "headers": headers}
        if status == UNAVAILABLE:
            page = self.unavailable(scope)
        else:
            page = self.complete(scope, self._make(scope, status))
        encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in page.items()]
        return encoded, page.content

    def complete(self, scope: Scope, page: HttpResponse) -> HttpResponse:
        """Add what Django's middleware adds to pages: none sees this one."""
        for name, value in self._headers[scope["scheme"] == "https"].pairs:
            page.headers.setdefault(name, value)
        patch_vary_headers(page, DECIDED_BY)
        page.headers["Content-Length"] = str(len(page.content))
        return page

    def _make(
        self, scope: Scope, status: int, code: str = "", *, is_repeatable: bool = False
    ) -> HttpResponse:
        """Return a page in the language of a request, with its id."""
        with languages.of_scope(scope):
            language = translation.get_language()
        cause = code if code in EXPLAINED else ""
        found = request_id(scope)
        content = self._contents[_Key(language, status, cause, is_repeatable, bool(found))]
        content = content.replace(ID_MARK.encode(), found.encode())
        headers = {"Cache-Control": "no-store", "Content-Language": language}
        return HttpResponse(content, status=status, headers=headers)


@cache
def prepared_pages() -> PreparedPages:
    """Return this process's pages."""
    return PreparedPages()


def is_shown(scope: Scope) -> bool:
    """Return True if a browser shows the response to a person."""
    return origin.shows_page(scope["headers"]) and not oauth_errors.is_for_client(scope)


def render_page(status: int, context: Mapping[str, Any]) -> str:
    """Return the page for a status. It takes no session: what failed may be what that needs."""
    return loader.render_to_string(
        [f"{status}.html", TEMPLATE], {"status": status, "problem": {}, **context}
    )


def request_id(scope: Scope) -> str:
    """Return the id of a request; "" if the server rejected it before it got one."""
    entry = access_log.entry_of(scope)
    return "" if entry is None else entry.id


def _list_keys() -> Iterator[_Key]:
    for language, _ in settings.LANGUAGES:
        for code, is_repeatable, has_id in product(EXPLAINED, BOTH, BOTH):
            yield _Key(language, UNAVAILABLE, code, is_repeatable, has_id)
        for status, has_id in product(REJECTED, BOTH):
            yield _Key(language, status, has_id=has_id)


def _render(key: _Key) -> bytes:
    context = {
        "request_id": ID_MARK if key.has_id else "",
        "problem": {"code": key.code},
        "is_repeatable": key.is_repeatable,
        "reload_after": SECONDS_MARK if key.is_repeatable else None,
    }
    with translation.override(key.language):
        return render_page(key.status, context).encode()
