"""Ending sessions in Django's admin: each way asks first, and is in the admin log."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME, AdminForm
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.admin.utils import unquote
from django.contrib.admin.widgets import AdminSplitDateTime
from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from sessions_kms.admin.pages import TEMPLATES, AdminPages, shown, shows_outage
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.format.item_types import SHORT_ID
from sessions_kms.models import Session
from sessions_kms.operations import ending, users
from sessions_kms.operations.listing import ROWS, Inspection
from sessions_kms.services import services

if TYPE_CHECKING:
    from django.db.models import QuerySet

CONFIRMED = "post"  # a field of every confirmation, as in Django's own
OWN_STAYS = "Your own session is not ended."


class DateTimeInput(AdminSplitDateTime):
    """A date and a time, each with a name for screen readers: Django 5.2 gives them none."""

    def __init__(self) -> None:
        super().__init__()
        for widget, label in zip(self.widgets, ("Date", "Time"), strict=True):
            widget.attrs["aria-label"] = label


class BeforeForm(forms.Form):
    """A moment that has passed."""

    before = forms.SplitDateTimeField(
        label="Created at or before",
        widget=DateTimeInput,
        help_text="A time that has passed. Sessions created later are kept.",
    )

    def clean_before(self) -> datetime:
        """Refuse a moment to come, before which nobody could sign in.

        Raises StoreUnavailable.
        """
        moment: datetime = self.cleaned_data["before"]
        # Dates of the far past and future have no timestamp everywhere.
        passed = 1970 < moment.year < 9999 and moment.timestamp() <= services().clock()
        if not passed:
            raise forms.ValidationError("Name a time that has passed, after 1970.")
        try:
            ending.require_past(services(), int(moment.timestamp()))
        except ValueError as exc:
            raise forms.ValidationError(str(exc)) from exc
        return moment


class EndingAdmin(AdminPages):
    """The views that end sessions: one, those selected, those of a user, those until a moment."""

    @shows_outage
    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """End the session of an id."""
        self._require_permission(request)
        inspection = Inspection(services(), request.session.session_key)
        row = run_sync(inspection.find(unquote(object_id)))
        if row is None:
            messages.warning(request, "There is no such session: it may have ended already.")
            return self.to_list()
        if row.current:
            messages.warning(request, "That is your own present session: log out to end it.")
            return self.to_list()
        if CONFIRMED in request.POST:
            self._end(request, inspection, [row.id])
            return self.to_list()
        title = f"End session {row.id[:SHORT_ID]}"
        return self.confirmation(request, title, "The person who uses this session is signed out.")

    @admin.action(permissions=["delete"], description="End selected sessions")
    def delete_selected(
        self, request: HttpRequest, queryset: "QuerySet[Session]"
    ) -> HttpResponse | None:
        """End the sessions that are selected. The name is that of Django's own action."""
        inspection = Inspection(services(), request.session.session_key)
        selected = request.POST.getlist(ACTION_CHECKBOX_NAME)[:ROWS]
        found = [row for each in selected if (row := run_sync(inspection.find(each))) is not None]
        rows = [row for row in found if not row.current]
        if CONFIRMED in request.POST:
            self._end(request, inspection, [row.id for row in rows])
            return None
        if not rows:
            messages.warning(request, "There is none to end: they may have ended already.")
            return None
        fields = [(ACTION_CHECKBOX_NAME, row.id) for row in rows]
        return self.confirmation(
            request,
            "End selected sessions",
            f"{_count(len(rows))} will end. The people who use them are signed out.",
            lines=[f"{row.id[:SHORT_ID]}, created {shown(row.created_at)}" for row in rows],
            note=OWN_STAYS if len(rows) < len(found) else "",
            hidden=[("action", "delete_selected"), *fields],
        )

    @shows_outage
    def end_of_user(self, request: HttpRequest) -> HttpResponse:
        """End all sessions of a user, but the reader's present one."""
        self._require_permission(request)
        user_id = request.GET.get("user", "")
        if not user_id:
            return self.to_list()
        user = users.get_users([user_id]).get(user_id)
        name = user_id if user is None else user.get_username()
        if CONFIRMED in request.POST:
            # First, since what fails on the way has ended some.
            self._log(request, f"all sessions of {name}")
            ended = ending.end_sessions_of(services(), user_id, but=request.session.session_key)
            messages.success(request, f"{_count(ended)} of {name} ended.")
            return self.to_list()
        return self.confirmation(
            request,
            f"End all sessions of {name}",
            f"{name} is signed out everywhere.",
            note=OWN_STAYS if user_id == request.session.get(USER_ID) else "",
        )

    @shows_outage
    def end_before(self, request: HttpRequest) -> HttpResponse:
        """End all sessions that were created until a moment, the reader's own too."""
        self._require_permission(request)
        form = BeforeForm(request.POST or None)
        if not form.is_valid():
            return self._before_form(request, form)
        moment = form.cleaned_data["before"]
        until = shown(moment)
        if CONFIRMED in request.POST:
            self._log(request, f"all sessions created until {until}")
            ending.end_before(services(), int(moment.timestamp()))
            messages.success(
                request, f"Sessions created until {until} end on every server within a minute."
            )
            return self.to_list()
        return self.confirmation(
            request,
            f"End all sessions created until {until}",
            "Everybody who has been signed in since then or longer is signed out."
            " This cannot be taken back.",
            note="Your own present session may be one of them.",
            hidden=[(name, request.POST.get(name, "")) for name in ("before_0", "before_1")],
        )

    def _end(self, request: HttpRequest, inspection: Inspection, ids: Iterable[str]) -> None:
        ended = 0
        for each in ids:
            if inspection.end(each):
                self._log(request, each[:SHORT_ID])
                ended += 1
        messages.success(request, f"{_count(ended)} ended.")

    def _log(self, request: HttpRequest, what: str) -> None:
        LogEntry.objects.create(
            user_id=str(request.user.pk),
            content_type=ContentType.objects.get_for_model(Session),
            object_repr=what[:200],
            action_flag=DELETION,
            change_message="Ended.",
        )

    def _before_form(self, request: HttpRequest, form: BeforeForm) -> HttpResponse:
        # Stubs ask for a model's form, which nothing here needs.
        adminform = AdminForm(form, [(None, {"fields": ["before"]})], {}, (), model_admin=self)  # type: ignore[arg-type]
        context = self.context(request, "End all sessions before a time") | {
            "adminform": adminform,
            "errors": form.errors,
            "media": self.media + adminform.media,
        }
        return TemplateResponse(request, f"{TEMPLATES}/before.html", context)

    def _require_permission(self, request: HttpRequest) -> None:
        if not self.has_delete_permission(request):
            raise PermissionDenied


def _count(number: int) -> str:
    return "1 session" if number == 1 else f"{number} sessions"
