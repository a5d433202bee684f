"""What the pages of sessions in Django's admin share: context, confirmation, outage."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import localize

from sessions_kms import outages
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.models import Session

if TYPE_CHECKING:
    SessionModelAdmin = admin.ModelAdmin[Session]
else:
    SessionModelAdmin = admin.ModelAdmin

TEMPLATES = "admin/sessions_kms/session"
View = TypeVar("View", bound=Callable[..., HttpResponse])


def shows_outage(view: View) -> View:
    """Answer with a page of the admin where a view of `AdminPages` cannot reach the store."""

    @wraps(view)
    def guarded(self: "AdminPages", request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            return view(self, request, *args, **kwargs)
        except StoreUnavailable as exc:
            return self.outage(request, exc)

    return cast("View", guarded)


def shown(moment: datetime) -> str:
    """Return a moment as the admin's pages show it: in the current time zone, to the minute."""
    here = timezone.localtime(moment) if timezone.is_aware(moment) else moment
    return str(localize(here))


class AdminPages(SessionModelAdmin):
    """Pages within the frame of the admin."""

    def outage(self, request: HttpRequest, error: StoreUnavailable) -> HttpResponse:
        """Say that the store cannot be used, and log why.

        People read the page; the status, 503, is for what watches the site.
        """
        context = self.context(request, "Out of reach") | {"problem": str(error)}
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
        """Ask before something is done; a yes posts the hidden fields, and `post`, here again."""
        context = self.context(request, title) | {
            "consequence": consequence,
            "lines": lines,
            "note": note,
            "hidden": hidden,
        }
        return TemplateResponse(request, f"{TEMPLATES}/confirmation.html", context)

    def context(self, request: HttpRequest, title: str) -> dict[str, Any]:
        """Return what the templates of Django's admin need for a page of ours."""
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
        """Go to the list of sessions."""
        return HttpResponseRedirect(self.list_url())

    def list_url(self) -> str:
        """Return the address of the list of sessions."""
        return reverse("admin:sessions_kms_session_changelist", current_app=self.admin_site.name)
