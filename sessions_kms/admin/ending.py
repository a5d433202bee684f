"""Ending sessions in Django's admin; each view asks first, and writes to the admin log."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import wraps
from typing import Any, TypeVar, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME, AdminForm
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.admin.utils import unquote
from django.contrib.admin.widgets import AdminSplitDateTime
from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import localize
from django.utils.translation import gettext, gettext_noop, ngettext
from django.utils.translation import gettext_lazy as _

from sessions_kms import outages
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.format.item_types import SHORT_ID
from sessions_kms.models import Session
from sessions_kms.operations import ending, users
from sessions_kms.operations.listing import ROWS, Inspection
from sessions_kms.services import services

TEMPLATES = "admin/sessions_kms/session"
View = TypeVar("View", bound=Callable[..., HttpResponse])


def shows_outage(view: View) -> View:
    """Show a page of the admin if a view of `AdminPages` cannot reach the store."""

    @wraps(view)
    def guarded(self: "AdminPages", request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            return view(self, request, *args, **kwargs)
        except StoreUnavailable as exc:
            return self.outage(request, exc)

    return cast("View", guarded)


def shown(moment: datetime) -> str:
    """Return a time as the admin shows it: to the minute, with the current time zone."""
    here = timezone.localtime(moment) if timezone.is_aware(moment) else moment
    return f"{localize(here)} {here:%Z}".rstrip()


class AdminPages(admin.ModelAdmin):  # type: ignore[type-arg]  # Django has no such class
    """Pages in the layout of the admin."""

    def outage(self, request: HttpRequest, error: StoreUnavailable) -> HttpResponse:
        """Return a page with status 503 that says the store cannot be used, and log why."""
        context = self.context(request, gettext("Sessions unavailable"))
        context["problem"] = gettext(str(error))
        response = TemplateResponse(request, f"{TEMPLATES}/outage.html", context, status=503)
        outages.note(error)
        outages.log_refusal(request, str(error), response)
        return response

    def confirmation(
        self,
        request: HttpRequest,
        title: str,
        consequence: str,
        *,
        lines: Sequence[str] = (),
        note: str = "",
        hidden: Sequence[tuple[str, str]] = (),
    ) -> HttpResponse:
        """Ask for confirmation; a yes posts the hidden fields and `post` to the same view."""
        context = self.context(request, title) | {
            "consequence": consequence,
            "lines": lines,
            "note": note,
            "hidden": hidden,
        }
        return TemplateResponse(request, f"{TEMPLATES}/confirmation.html", context)

    def context(self, request: HttpRequest, title: str) -> dict[str, Any]:
        """Return the context that the templates of Django's admin need."""
        request.current_app = self.admin_site.name
        return {
            **self.admin_site.each_context(request),
            "title": title,
            "original": title,  # The last of Django's breadcrumbs.
            "opts": self.opts,
            "media": self.media,
            "has_view_permission": True,
            "list_url": self.list_url(),
        }

    def to_list(self) -> HttpResponse:
        """Redirect to the list of sessions."""
        return HttpResponseRedirect(self.list_url())

    def list_url(self) -> str:
        """Return the address of the list of sessions."""
        return reverse("admin:sessions_kms_session_changelist", current_app=self.admin_site.name)


CONFIRMED = "post"  # a field of every confirmation, as in Django's own
OWN_STAYS = _("Your own session is not ended.")
# Of `StoreUnavailable`, whose module does not depend on Django.
OUTAGES = (
    gettext_noop("The session store cannot be used at the moment."),
    gettext_noop("The session table cannot be used at the moment."),
    gettext_noop("AWS KMS cannot be used at the moment."),
)


class DateTimeInput(AdminSplitDateTime):
    """A date and a time with names for screen readers, which Django 5.2 lacks."""

    def __init__(self) -> None:
        super().__init__()
        for widget, label in zip(self.widgets, (_("Date"), _("Time")), strict=True):
            widget.attrs["aria-label"] = label


class BeforeForm(forms.Form):
    """A time in the past."""

    before = forms.SplitDateTimeField(
        label=_("Created at or before"),
        widget=DateTimeInput,
        help_text=_("A time in the past. Sessions created later stay."),
    )

    def clean_before(self) -> datetime:
        """Reject a time in the future: everybody who signs in before it would be signed out.

        Raises StoreUnavailable.
        """
        moment: datetime = self.cleaned_data["before"]
        # Dates in the far past and future have no timestamp on some platforms.
        passed = 1970 < moment.year < 9999 and moment.timestamp() <= services().clock()
        if not passed:
            raise forms.ValidationError(gettext("Enter a time in the past, after 1970."))
        try:
            ending.require_past(services(), int(moment.timestamp()))
        except ValueError as exc:
            raise forms.ValidationError(str(exc)) from exc
        return moment


class EndingAdmin(AdminPages):
    """The views that end sessions: one, the selected ones, those of a user, those before a time."""

    @shows_outage
    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """End the session of an id."""
        self._require_permission(request)
        inspection = Inspection(services(), request.session.session_key)
        row = run_sync(inspection.find(unquote(object_id)))
        if row is None:
            text = gettext("There is no such session. It may have ended already.")
            messages.warning(request, text)
            return self.to_list()
        if row.current:
            text = gettext("This is your own current session. Log out to end it.")
            messages.warning(request, text)
            return self.to_list()
        if CONFIRMED in request.POST:
            self._end(request, inspection, [row.id])
            return self.to_list()
        title = gettext("End session %(id)s") % {"id": row.id[:SHORT_ID]}
        consequence = gettext("The user of this session will be signed out.")
        return self.confirmation(request, title, consequence)

    @admin.action(permissions=["delete"], description=_("End selected sessions"))
    def delete_selected(
        self, request: HttpRequest, queryset: "QuerySet[Session]"
    ) -> HttpResponse | None:
        """End the selected sessions. The action is named like Django's own."""
        inspection = Inspection(services(), request.session.session_key)
        selected = request.POST.getlist(ACTION_CHECKBOX_NAME)[:ROWS]
        found = [row for each in selected if (row := run_sync(inspection.find(each))) is not None]
        rows = [row for row in found if not row.current]
        if CONFIRMED in request.POST:
            self._end(request, inspection, [row.id for row in rows])
            return None
        if not rows:
            text = gettext("There are no sessions to end. They may have ended already.")
            messages.warning(request, text)
            return None
        fields = [(ACTION_CHECKBOX_NAME, row.id) for row in rows]
        consequence = ngettext(
            "%(number)d session will end. Its user will be signed out.",
            "%(number)d sessions will end. Their users will be signed out.",
            len(rows),
        )
        line = gettext("%(id)s, created %(time)s")
        return self.confirmation(
            request,
            gettext("End selected sessions"),
            consequence % {"number": len(rows)},
            lines=[line % {"id": row.id[:SHORT_ID], "time": shown(row.created_at)} for row in rows],
            note=str(OWN_STAYS) if len(rows) < len(found) else "",
            hidden=[("action", "delete_selected"), *fields],
        )

    @shows_outage
    def end_of_user(self, request: HttpRequest) -> HttpResponse:
        """End all sessions of a user except the reader's current one."""
        self._require_permission(request)
        user_id = request.GET.get("user", "")
        if not user_id:
            return self.to_list()
        user = users.get_users([user_id]).get(user_id)
        name = user_id if user is None else user.get_username()
        if CONFIRMED in request.POST:
            # First, since a failure may come after some have ended.
            self._log(request, f"all sessions of {name}")
            ended = ending.end_sessions_of(services(), user_id, but=request.session.session_key)
            text = ngettext(
                "%(number)d session of %(user)s ended.",
                "%(number)d sessions of %(user)s ended.",
                ended,
            )
            messages.success(request, text % {"number": ended, "user": name})
            return self.to_list()
        return self.confirmation(
            request,
            gettext("End all sessions of %(user)s") % {"user": name},
            gettext("%(user)s will be signed out everywhere.") % {"user": name},
            note=str(OWN_STAYS) if user_id == request.session.get(USER_ID) else "",
        )

    @shows_outage
    def end_before(self, request: HttpRequest) -> HttpResponse:
        """End all sessions created up to a time, even the reader's own."""
        self._require_permission(request)
        form = BeforeForm(request.POST or None)
        if not form.is_valid():
            return self._before_form(request, form)
        moment = form.cleaned_data["before"]
        until = shown(moment)
        if CONFIRMED in request.POST:
            self._log(request, f"all sessions created up to {until}")
            ending.end_before(services(), int(moment.timestamp()))
            text = gettext("Sessions created up to %(time)s end on every server within a minute.")
            messages.success(request, text % {"time": until})
            return self.to_list()
        return self.confirmation(
            request,
            gettext("End all sessions created up to %(time)s") % {"time": until},
            gettext(
                "Everybody who signed in at that time or earlier will be signed out."
                " This cannot be undone."
            ),
            note=gettext("Your own current session may be one of them."),
            hidden=[(name, request.POST.get(name, "")) for name in ("before_0", "before_1")],
        )

    def _end(self, request: HttpRequest, inspection: Inspection, ids: Iterable[str]) -> None:
        ended = 0
        for each in ids:
            if inspection.end(each):
                self._log(request, each[:SHORT_ID])
                ended += 1
        text = ngettext("%(number)d session ended.", "%(number)d sessions ended.", ended)
        messages.success(request, text % {"number": ended})

    def _log(self, request: HttpRequest, what: str) -> None:
        LogEntry.objects.create(
            user_id=str(request.user.pk),
            content_type=ContentType.objects.get_for_model(Session),
            object_repr=what[:200],
            action_flag=DELETION,
            change_message="Ended.",
        )

    def _before_form(self, request: HttpRequest, form: BeforeForm) -> HttpResponse:
        # The stubs require a model form, which is not needed here.
        adminform = AdminForm(form, [(None, {"fields": ["before"]})], {}, (), model_admin=self)  # type: ignore[arg-type]
        context = self.context(request, gettext("End all sessions before a time")) | {
            "adminform": adminform,
            "errors": form.errors,
            "media": self.media + adminform.media,
        }
        return TemplateResponse(request, f"{TEMPLATES}/before.html", context)

    def _require_permission(self, request: HttpRequest) -> None:
        if not self.has_delete_permission(request):
            raise PermissionDenied
