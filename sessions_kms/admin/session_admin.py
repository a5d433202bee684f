"""Sessions in Django's admin: listed and looked at without decryption, and ended.

Two permissions, both given to superusers: `view_session`, and `end_session`, which
includes it. Nothing is added or changed here.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.urls import URLPattern, path
from django.utils.html import format_html

from sessions_kms.admin.changelist import GRANTS, USER, SessionList, label_users
from sessions_kms.admin.ending import EndingAdmin
from sessions_kms.admin.pages import shown, shows_outage
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.models import Session
from sessions_kms.operations.listing import Inspection, to_datetime
from sessions_kms.sealed_items.about import CLIENT
from sessions_kms.services import services

COLUMNS = ("user", "created", "written", "ends")
NO_BREAK = "\N{NO-BREAK SPACE}"


@admin.register(Session)
class SessionAdmin(EndingAdmin):
    """The list of sessions, and the page of one."""

    class Media:
        """What the pages load: rows that fit a phone."""

        css = {"all": ["sessions_kms/admin.css"]}  # noqa: RUF012 - as Django documents it

    list_display = ("short_id", *COLUMNS)
    list_display_links = ("short_id",)
    sortable_by = ()
    search_fields = ("id",)
    search_help_text = "A user's id, name or e-mail address, or the 43 letters of a session's id"
    actions = ("delete_selected",)
    readonly_fields = (
        *("id", *COLUMNS, "about", "revision", "size", "version", "key_period", "content"),
    )

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Show the app to whoever may see sessions."""
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Session | None = None) -> bool:
        """Let whoever may view or end sessions see them."""
        return request.user.has_perm("sessions_kms.view_session") or (
            self.has_delete_permission(request, obj)
        )

    def has_delete_permission(self, request: HttpRequest, obj: Session | None = None) -> bool:
        """Tell who may end sessions."""
        return request.user.has_perm("sessions_kms.end_session")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Let nobody make sessions here."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Session | None = None) -> bool:
        """Let nobody change sessions here."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """Add the ways of ending many to Django's own addresses."""
        view = self.admin_site.admin_view
        ours: list[URLPattern] = [
            path("end-of-user/", view(self.end_of_user), name="sessions_kms_session_end_of_user"),
            path("end-before/", view(self.end_before), name="sessions_kms_session_end_before"),
        ]
        return ours + super().get_urls()

    def get_list_display(self, request: HttpRequest) -> Any:
        """Tell of which app a session is in the lists that read it: not in that of everybody."""
        is_told = any(request.GET.get(each) for each in (USER, GRANTS, SEARCH_VAR))
        return ("short_id", "app", *COLUMNS) if is_told else self.list_display

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the list that reads DynamoDB."""
        return SessionList

    @shows_outage
    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show a page of sessions, or run an action on those selected."""
        may_end = self.has_delete_permission(request)
        context = {"title": "Sessions", "may_end": may_end, **(extra_context or {})}
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
        session.about = ", ".join(_named(run_sync(inspection.about(row.id))))
        label_users([session], request, self.admin_site)
        if row.current:
            session.content = ", ".join(sorted(request.session.keys()))
        return session

    def get_fields(self, request: HttpRequest, obj: Session | None = None) -> Any:
        """Leave what the session holds to the one whose own present session it is."""
        own = obj is not None and obj.row.current
        return self.readonly_fields if own else self.readonly_fields[:-1]

    @admin.display(description="session")
    def short_id(self, session: Session) -> str:
        """Show the first letters of the id, and whether it is the reader's own."""
        return f"{session} (this session)" if session.row.current else str(session)

    @admin.display(description="app")
    def app(self, session: Session) -> str:
        """Show what the OAuth client calls itself whose grant it is; else nothing."""
        return session.row.words.get(CLIENT, "")

    @admin.display(description="user")
    def user(self, session: Session) -> str:
        """Show who is signed in, with a link where the reader may view users."""
        if session.row.doubtful:
            return "not known"
        if session.user_url:
            return format_html('<a href="{}">{}</a>', session.user_url, session.user_name)
        return session.user_name or "nobody"

    @admin.display(description="created")
    def created(self, session: Session) -> str:
        """Show when the absolute timeout began: at the sign-in."""
        return _cell(session.row.created_at)

    @admin.display(description="last written")
    def written(self, session: Session) -> str:
        """Show when the record was written."""
        return _cell(session.row.updated_at)

    @admin.display(description="ends")
    def ends(self, session: Session) -> str:
        """Show when the session ends if it is not used any more."""
        return _cell(session.row.ends_at)

    @admin.display(description="size")
    def size(self, session: Session) -> str:
        """Show how large the item is; to tell that for a list would be to read all of it."""
        return filesizeformat(session.size) if session.size is not None else ""

    @admin.display(description="record format")
    def version(self, session: Session) -> str:
        """Show the version of the record's format."""
        return f"version {session.row.version}"

    @admin.display(description="encrypted with")
    def key_period(self, session: Session) -> str:
        """Show which data key sealed the record, and how `end_sessions` names it."""
        period = session.row.key_period
        if not period:
            return "a data key of its own"
        return f"the data key of {shown(to_datetime(period))} (--key-period {period})"

    @admin.display(description="writes")
    def revision(self, session: Session) -> int:
        """Show how often the record was written."""
        return session.row.revision

    @admin.display(description="signed in with")
    def about(self, session: Session) -> str:
        """Show what the project has the session tell, such as its browser's family."""
        return session.about or "not known"

    @admin.display(description="holds")
    def content(self, session: Session) -> str:
        """Show the names of what the session holds, never a value."""
        return session.content


def _named(words: Mapping[str, str]) -> list[str]:
    """Return what a session tells of itself, each with its name, such as "browser: Firefox"."""
    return [f"{name.replace('_', ' ')}: {word}" for name, word in words.items()]


def _cell(moment: datetime) -> str:
    """Return a moment that breaks before its time of day only, so that the columns fit."""
    day, comma, time = shown(moment).rpartition(", ")
    return day.replace(" ", NO_BREAK) + comma + time.replace(" ", NO_BREAK)
