"""Sessions in Django's admin: listed and shown without decryption, and ended.

There are two permissions, which superusers have: `view_session`, and `end_session`, which includes
it. Nothing can be added or changed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.exceptions import NotRegistered
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.contrib.auth import get_user_model
from django.core.signing import BadSignature
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.urls import URLPattern, path, reverse
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.translation import gettext, gettext_noop
from django.utils.translation import gettext_lazy as _

from sessions_kms.admin.ending import EndingAdmin, shown, shows_outage
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.format.item_types import is_session_id
from sessions_kms.models import Session
from sessions_kms.operations import users
from sessions_kms.operations.listing import (
    Inspection,
    Listing,
    read_page_token,
    sign_page_token,
    to_datetime,
)
from sessions_kms.sealed_items.about import CLIENT
from sessions_kms.services import services

if TYPE_CHECKING:
    from django.db.models import QuerySet

USER = "user"
GRANTS = "grants"  # only those of OAuth clients
AFTER = "after"


class SessionList(ChangeList):
    """One page of sessions: of the whole table, of a user, only grants, or a single session.

    Django's `ChangeList` counts and slices a queryset; this page is read from DynamoDB, and is
    neither counted nor numbered. ``candidates`` are the users that match a search.
    """

    def get_queryset(
        self, request: HttpRequest, exclude_parameters: Any = None
    ) -> "QuerySet[Session]":
        """Return nothing, without a query."""
        return self.root_queryset.none()

    def get_results(self, request: HttpRequest) -> None:
        """Read the page. Raises StoreUnavailable."""
        self.user_id: str | None = request.GET.get(USER) or None
        self.only_grants = GRANTS in request.GET
        self.candidates: list[tuple[str, str]] = []
        self.first_url = self.next_url = ""
        listing = Listing([]) if request.method == "POST" else self._read(request)
        # A table has no order of its own: at least each page has one.
        rows = sorted(listing.rows, key=lambda row: row.updated_at, reverse=True)
        self.result_list = [Session.of(row) for row in rows]
        self.result_count = self.full_result_count = len(listing.rows)
        self.show_full_result_count = self.can_show_all = self.multi_page = False
        self.show_admin_actions = bool(listing.rows)
        self.params = {}  # The search form would send them again.
        label_users(self.result_list, request, self.model_admin.admin_site)
        user = users.get_users([self.user_id or ""]).get(self.user_id or "")
        self.user_name = None if user is None else user.get_username()

    def _read(self, request: HttpRequest) -> Listing:
        inspection = Inspection(services(), request.session.session_key)
        if text := self.query.strip():
            found = run_sync(inspection.find(text)) if is_session_id(text) else None
            if found is not None:
                return with_metadata(inspection, Listing([found]))
            matches = users.find_users(text)
            if len(matches) > 1:
                self.candidates = [
                    ("?" + urlencode({USER: each}), f"{user.get_username()} ({each})")
                    for each, user in matches.items()
                ]
                return Listing([])
            # A deleted user may still have sessions.
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
                text = gettext("The link to that page is no longer valid. This is the first page.")
                messages.warning(request, text)
                raise IncorrectLookupParameters from None
            self.first_url = f"?{name}"
        if self.user_id is not None:
            listing = with_metadata(
                inspection, run_sync(inspection.list_user_sessions(self.user_id, start))
            )
        elif self.only_grants:
            listing = inspection.list_grants(start)
        else:
            listing = inspection.list_table(start)
        if listing.next is not None:
            token = sign_page_token(services(), listing.next, listing=name)
            self.next_url = "?" + urlencode(of_user | {AFTER: token})
        return listing


def with_metadata(inspection: Inspection, listing: Listing) -> Listing:
    """Return a page with the metadata of its sessions, which takes a read for each."""
    rows = [replace(row, words=run_sync(inspection.about(row.id))) for row in listing.rows]
    return Listing(rows, listing.next)


def label_users(sessions: Iterable[Session], request: HttpRequest, site: admin.AdminSite) -> None:
    """Set the user name of each session, and a link if the reader may view users."""
    shown = list(sessions)
    found = users.get_users(each.row.user_id for each in shown if each.row.user_id is not None)
    for session in shown:
        session.user_name, session.user_url = session.row.user_id or "", ""
        if user := found.get(session.user_name):
            session.user_name = user.get_username()
            session.user_url = _user_url(user, request, site)


def _user_url(user: Any, request: HttpRequest, site: admin.AdminSite) -> str:
    model = get_user_model()
    try:
        may_view = site.get_model_admin(model).has_view_or_change_permission(request, user)
    except NotRegistered:
        return ""
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"
    return reverse(name, args=(quote(user.pk),), current_app=site.name) if may_view else ""


# Names of metadata that the catalogs have: those of `gateway_site` and of `oauth.clients`.
METADATA = (
    *(gettext_noop("browser"), gettext_noop("system"), gettext_noop("provider")),
    *(gettext_noop("client"), gettext_noop("client id"), gettext_noop("client host")),
    *(gettext_noop("upstream"), gettext_noop("redirect host")),
)
COLUMNS = ("user", "created", "written", "ends")
NO_BREAK = "\N{NO-BREAK SPACE}"


@admin.register(Session)
class SessionAdmin(EndingAdmin):
    """The list of sessions, and the page of one."""

    class Media:
        """Style sheets."""

        css = {"all": ["sessions_kms/admin.css"]}  # noqa: RUF012 - as Django documents it

    list_display = ("short_id", *COLUMNS)
    list_display_links = ("short_id",)
    sortable_by = ()
    search_fields = ("id",)
    search_help_text = _("A user's id, name or e-mail address, or the 43 letters of a session's id")
    actions = ("delete_selected",)
    readonly_fields = (
        *("id", *COLUMNS, "about", "revision", "size", "version", "key_period", "content"),
    )

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Show the app to users who may view sessions."""
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Session | None = None) -> bool:
        """Return True for users who may view or end sessions."""
        return request.user.has_perm("sessions_kms.view_session") or (
            self.has_delete_permission(request, obj)
        )

    def has_delete_permission(self, request: HttpRequest, obj: Session | None = None) -> bool:
        """Return True for users who may end sessions."""
        return request.user.has_perm("sessions_kms.end_session")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return False: sessions cannot be added."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Session | None = None) -> bool:
        """Return False: sessions cannot be changed."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """Add the views that end many sessions."""
        view = self.admin_site.admin_view
        ours: list[URLPattern] = [
            path("end-of-user/", view(self.end_of_user), name="sessions_kms_session_end_of_user"),
            path("end-before/", view(self.end_before), name="sessions_kms_session_end_before"),
        ]
        return ours + super().get_urls()

    def get_list_display(self, request: HttpRequest) -> Any:
        """Show the app's column in the lists that read it, but not in the list of all sessions."""
        shows_app = any(request.GET.get(each) for each in (USER, GRANTS, SEARCH_VAR))
        return ("short_id", "app", *COLUMNS) if shows_app else self.list_display

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the list that reads DynamoDB."""
        return SessionList

    @shows_outage
    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show a page of sessions, or run an action on those selected."""
        may_end = self.has_delete_permission(request)
        context = {"title": gettext("Sessions"), "may_end": may_end, **(extra_context or {})}
        return super().changelist_view(request, context)

    @shows_outage
    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show one session."""
        return super().change_view(request, object_id, form_url, extra_context)

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Session | None:
        """Return the live session of an id. Raises StoreUnavailable."""
        inspection = Inspection(services(), request.session.session_key)
        row = run_sync(inspection.find(object_id))
        if row is None:
            return None
        session = Session.of(row)
        session.size = inspection.size(row.id)
        session.about = "\n".join(_format_metadata(run_sync(inspection.about(row.id))))
        label_users([session], request, self.admin_site)
        if row.current:
            session.content = ", ".join(sorted(request.session.keys()))
        return session

    def get_fields(self, request: HttpRequest, obj: Session | None = None) -> Any:
        """Show the names of the content only for the reader's own session."""
        own = obj is not None and obj.row.current
        return self.readonly_fields if own else self.readonly_fields[:-1]

    @admin.display(description=_("session"))
    def short_id(self, session: Session) -> str:
        """Show the beginning of the id, and whether it is the reader's own session."""
        if not session.row.current:
            return str(session)
        return gettext("%(session)s (this session)") % {"session": session}

    @admin.display(description=_("app"))
    def app(self, session: Session) -> str:
        """Show the name of the OAuth client if the session is a grant."""
        return session.row.words.get(CLIENT, "")

    @admin.display(description=_("user"))
    def user(self, session: Session) -> str:
        """Show the signed-in user, with a link if the reader may view users."""
        if session.row.doubtful:
            return _cell(gettext("user"), gettext("not known"))
        name: str = session.user_name or gettext("nobody (not signed in)")
        if session.user_url:
            name = format_html('<a href="{}">{}</a>', session.user_url, name)
        return _cell(gettext("user"), name)

    @admin.display(description=_("created"))
    def created(self, session: Session) -> str:
        """Show when the session started; the absolute timeout counts from then."""
        return _cell(gettext("created"), _unbroken(session.row.created_at))

    @admin.display(description=_("last written"))
    def written(self, session: Session) -> str:
        """Show when the record was last written."""
        return _cell(gettext("last written"), _unbroken(session.row.updated_at))

    @admin.display(description=_("ends"))
    def ends(self, session: Session) -> str:
        """Show when the session ends if it is not used again."""
        return _cell(gettext("ends"), _unbroken(session.row.ends_at))

    @admin.display(description=_("size"))
    def size(self, session: Session) -> str:
        """Show the size of the item, but not in a list, where each item would have to be read."""
        return filesizeformat(session.size) if session.size is not None else ""

    @admin.display(description=_("record format"))
    def version(self, session: Session) -> str:
        """Show the version of the record's format."""
        return gettext("version %(number)s") % {"number": session.row.version}

    @admin.display(description=_("encrypted with"))
    def key_period(self, session: Session) -> str:
        """Show the data key of the record, and its option for `end_sessions`."""
        period = session.row.key_period
        text = gettext("the data key of %(time)s (--key-period %(period)s)")
        return text % {"time": shown(to_datetime(period)), "period": period}

    @admin.display(description=_("writes"))
    def revision(self, session: Session) -> int:
        """Show the number of writes."""
        return session.row.revision

    @admin.display(description=_("signed in with"))
    def about(self, session: Session) -> str:
        """Show the metadata that the project stores, such as the browser."""
        return session.about or gettext("not known")

    @admin.display(description=_("names of its contents"))
    def content(self, session: Session) -> str:
        """Show the names in the session's content, never a value."""
        return session.content


def _format_metadata(words: Mapping[str, str]) -> list[str]:
    """Return the metadata of a session with names, such as "browser: Firefox"."""
    return [f"{gettext(name.replace('_', ' '))}: {word}" for name, word in words.items()]


def _cell(label: str, value: str) -> str:
    """Return a value with its label, which the style sheet shows where a row is a card."""
    return format_html('<span class="cell" data-label="{}">{}</span>', label, value)


def _unbroken(moment: datetime) -> str:
    """Return a time that wraps only between date and time of day, so that columns fit."""
    text, day = shown(moment), date_format(moment, "DATE_FORMAT")
    if not text.startswith(day):
        return text
    time = text.removeprefix(day).lstrip(", ")
    joint = text.removeprefix(day).removesuffix(time)
    return day.replace(" ", NO_BREAK) + joint + time.replace(" ", NO_BREAK)
