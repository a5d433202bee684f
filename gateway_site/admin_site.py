"""Django's admin, in which nothing irreversible happens within a second of its page.

Deleting, and ending sessions, asks on a page of its own, whose form has the field `post`
(Django's convention). `oauth.sign_in.click_delay` says what the delay is against.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar, cast

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse, QueryDict
from django.template.response import TemplateResponse

from oauth.sign_in import click_delay

CONFIRMED = "post"
# As Django's own confirmations have it, and those of `sessions_kms.admin`.
FORM_FIELD = b'<input type="hidden" name="post" value="yes">'
DELETES = "_delete"  # how the names of Django's views end that delete one object

View = TypeVar("View", bound=Callable[..., HttpResponse])


class DelayedAdminSite(AdminSite):
    """Shows a confirmation again where it was answered too soon."""

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Return a view that is protected as Django does it, and by the delay."""
        return super().admin_view(_delayed(view), cacheable)


def _delayed(view: View) -> View:
    @wraps(view)
    def delayed(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if CONFIRMED in request.POST and click_delay.is_too_soon(request):
            messages.warning(request, click_delay.TOO_SOON)
            _unconfirm(request)
        response = view(request, *args, **kwargs)
        if isinstance(response, TemplateResponse):
            response.add_post_render_callback(partial(_add_fields, request))
        return response

    return cast("View", delayed)


def _unconfirm(request: HttpRequest) -> None:
    """Make of a request the one that asks for the confirmation."""
    match = request.resolver_match
    if match is not None and (match.url_name or "").endswith(DELETES):
        request.method = "GET"  # Django takes any POST there for a confirmation
        request.POST = QueryDict()
        return
    data = request.POST.copy()
    del data[CONFIRMED]
    request.POST = data  # type: ignore[assignment]  # Django's own attribute takes a copy too


def _add_fields(request: HttpRequest, response: HttpResponse) -> None:
    if FORM_FIELD in response.content:
        more = click_delay.fields(request).encode()
        response.content = response.content.replace(FORM_FIELD, FORM_FIELD + more)
