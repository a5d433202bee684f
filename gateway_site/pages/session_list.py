"""A person's sessions, page by page: what records say in the clear, and they of themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from gateway_site.pages.session_label import SignIn
from sessions_kms import about
from sessions_kms.operations.listing import (
    Inspection,
    Listing,
    Row,
    read_page_token,
    sign_page_token,
)
from sessions_kms.services import services

AFTER = "after"  # the parameter of a page's address


@dataclass(frozen=True)
class Shown:
    """One session, and how somebody signed in to it."""

    row: Row
    sign_in: SignIn


@dataclass(frozen=True)
class Page:
    """Some of a person's sessions, and where older ones are.

    The present one comes first, then the newest.
    """

    rows: Sequence[Shown]
    older_url: str
    is_first: bool

    @property
    def has_others(self) -> bool:
        """Whether there may be another one to end."""
        one_page = self.is_first and not self.older_url
        return not one_page or any(not shown.row.current for shown in self.rows)


class SessionList:
    """The sessions of a user; ``current`` is the session key of the one that asks."""

    def __init__(self, user_id: str, current: str | None) -> None:
        __traceback_hide__ = True
        self._user_id = user_id
        self._inspection = Inspection(services(), current)
        self._name = f"sessions of {user_id}"

    async def page(self, token: str | None) -> Page:
        """Return the page that a token leads to. Raises BadSignature or StoreUnavailable."""
        start = None if token is None else read_page_token(services(), token, listing=self._name)
        found = await self._inspection.list_user_sessions(self._user_id, start)
        rows = [row for row in found.rows if not row.current]
        if start is None and (present := await self._present(found.rows)) is not None:
            rows.insert(0, present)
        return Page(
            await self._shown(rows),
            older_url=self._older_url(found),
            is_first=start is None,
        )

    async def _present(self, found: Sequence[Row]) -> Row | None:
        """Return the present session; the index may lag behind, or have it on a later page."""
        there = next((row for row in found if row.current), None)
        return there or await self._inspection.find_current()

    async def _shown(self, rows: Sequence[Row]) -> list[Shown]:
        shown = []
        for row in rows:
            words = await self._inspection.about(row.id)
            if not about.is_of_grant(words):
                shown.append(Shown(row, SignIn.told_by(words)))
        return shown

    def _older_url(self, found: Listing) -> str:
        if found.next is None:
            return ""
        token = sign_page_token(services(), found.next, listing=self._name)
        return "?" + urlencode({AFTER: token})
