"""The list of sessions in Django's admin: its page, its search and its links.

Django's `ChangeList` counts and slices a queryset; this one shows a page that was read
from DynamoDB, which is neither counted nor numbered.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.exceptions import NotRegistered
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_user_model
from django.core.signing import BadSignature
from django.http import HttpRequest
from django.urls import reverse

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.format.item_types import is_session_id
from sessions_kms.models import Session
from sessions_kms.operations import users
from sessions_kms.operations.listing import Inspection, Listing, read_page_token, sign_page_token
from sessions_kms.services import services

if TYPE_CHECKING:
    from django.db.models import QuerySet

USER = "user"
GRANTS = "grants"  # of OAuth clients alone
AFTER = "after"


class SessionList(ChangeList):
    """One page of sessions: of the whole table, grants alone, of one user, or the one of an id.

    ``user_id`` is whose they are, ``candidates`` the users that a search may have meant.
    """

    def get_queryset(
        self, request: HttpRequest, exclude_parameters: Any = None
    ) -> "QuerySet[Session]":
        """Return nothing: no SQL is asked."""
        return self.root_queryset.none()

    def get_results(self, request: HttpRequest) -> None:
        """Read the page. Raises StoreUnavailable."""
        self.user_id: str | None = request.GET.get(USER) or None
        self.only_grants = GRANTS in request.GET
        self.candidates: list[tuple[str, str]] = []
        self.first_url = self.next_url = ""
        listing = Listing([]) if request.method == "POST" else self._read(request)
        self.result_list = [Session.of(row) for row in listing.rows]
        self.result_count = self.full_result_count = len(listing.rows)
        self.show_full_result_count = self.can_show_all = self.multi_page = False
        self.show_admin_actions = bool(listing.rows)
        self.params = {}  # What the search form would carry on.
        label_users(self.result_list, request, self.model_admin.admin_site)
        user = users.get_users([self.user_id or ""]).get(self.user_id or "")
        self.user_name = None if user is None else user.get_username()

    def _read(self, request: HttpRequest) -> Listing:
        inspection = Inspection(services(), request.session.session_key)
        if text := self.query.strip():
            found = run_sync(inspection.find(text)) if is_session_id(text) else None
            if found is not None:
                return told(inspection, Listing([found]))
            matches = users.find_users(text)
            if len(matches) > 1:
                self.candidates = [
                    ("?" + urlencode({USER: each}), f"{user.get_username()} ({each})")
                    for each, user in matches.items()
                ]
                return Listing([])
            # Somebody who is no longer a user may still have sessions.
            self.user_id = next(iter(matches), text)
        return self._page(inspection, request)

    def _page(self, inspection: Inspection, request: HttpRequest) -> Listing:
        of_user = {} if self.user_id is None else {USER: self.user_id}
        if self.user_id is None and self.only_grants:
            of_user = {GRANTS: "1"}
        name = urlencode(of_user)
        start = None
        if token := request.GET.get(AFTER):
            try:
                start = read_page_token(services(), token, listing=name)
            except BadSignature:
                text = "The link to that page is not valid any more. This is the first page."
                messages.warning(request, text)
                raise IncorrectLookupParameters from None
            self.first_url = f"?{name}"
        if self.user_id is not None:
            listing = told(inspection, run_sync(inspection.list_user_sessions(self.user_id, start)))
        elif self.only_grants:
            listing = inspection.list_grants(start)
        else:
            listing = inspection.list_table(start)
        if listing.next is not None:
            token = sign_page_token(services(), listing.next, listing=name)
            self.next_url = "?" + urlencode(of_user | {AFTER: token})
        return listing


def told(inspection: Inspection, listing: Listing) -> Listing:
    """Return a page with what its sessions tell of themselves, each read by itself."""
    rows = [replace(row, words=run_sync(inspection.about(row.id))) for row in listing.rows]
    return Listing(rows, listing.next)


def label_users(sessions: Iterable[Session], request: HttpRequest, site: admin.AdminSite) -> None:
    """Name the user of each session, with a link for those who may view users."""
    shown = list(sessions)
    found = users.get_users(each.row.user_id for each in shown if each.row.user_id is not None)
    for session in shown:
        session.user_name, session.user_url = session.row.user_id or "", ""
        if user := found.get(session.user_name):
            session.user_name = user.get_username()
            session.user_url = _address(user, request, site)


def _address(user: Any, request: HttpRequest, site: admin.AdminSite) -> str:
    model = get_user_model()
    try:
        may_view = site.get_model_admin(model).has_view_or_change_permission(request, user)
    except NotRegistered:
        return ""
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"
    return reverse(name, args=(quote(user.pk),), current_app=site.name) if may_view else ""
