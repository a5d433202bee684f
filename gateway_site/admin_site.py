"""Django's admin, in which irreversible actions need a second after their page is shown.

Deleting, and ending sessions, asks for confirmation on a page whose form has the field `post`
(Django's convention). `oauth.sign_in.click_delay` explains what the delay prevents.
"""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar, cast

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse, QueryDict
from django.template.response import TemplateResponse

from oauth.sign_in import click_delay

CONFIRMED = "post"
# As in Django's own confirmations, and those of `sessions_kms.admin`.
FORM_FIELD = b'<input type="hidden" name="post" value="yes">'
DELETES = "_delete"  # suffix of the names of Django's delete views

View = TypeVar("View", bound=Callable[..., HttpResponse])


class DelayedAdminSite(AdminSite):
    """Shows a confirmation again if it was answered too soon."""

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Return a view with Django's protection, and the delay."""
        return super().admin_view(_delayed(view), cacheable)


def _delayed(view: View) -> View:
    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if CONFIRMED in request.POST and click_delay.is_too_soon(request):
            messages.warning(request, click_delay.TOO_SOON)
            _unconfirm(request)
        response = view(request, *args, **kwargs)
        if isinstance(response, TemplateResponse):
            response.add_post_render_callback(partial(_add_fields, request))
        return response

    return cast("View", wrapper)


def _unconfirm(request: HttpRequest) -> None:
    """Turn a request into the one that asks for the confirmation."""
    match = request.resolver_match
    if match is not None and (match.url_name or "").endswith(DELETES):
        request.method = "GET"  # Django treats any POST there as a confirmation
        request.POST = QueryDict()
        return
    data = request.POST.copy()
    del data[CONFIRMED]
    request.POST = data  # type: ignore[assignment]  # Django's own attribute takes a copy too


def _add_fields(request: HttpRequest, response: HttpResponse) -> None:
    if FORM_FIELD in response.content:
        more = click_delay.fields(request).encode()
        response.content = response.content.replace(FORM_FIELD, FORM_FIELD + more)
