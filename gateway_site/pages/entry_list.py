"""Ending one or all entries of a page that lists sessions or apps, and reporting the outcome."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import cast

from django.contrib import messages
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, resolve_url
from django.utils.functional import Promise
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from oauth import sign_in_url
from oauth.sign_in import click_delay
from sessions_kms import StoreUnavailable, user_id_of

View = Callable[[HttpRequest], HttpResponse]


@dataclass(frozen=True, kw_only=True)
class EntryList:
    """A page that lists entries, by its URL name, and its messages, translated when shown."""

    page: str
    ended: str | Promise
    missing: str | Promise
    ended_none: str | Promise
    ended_number: Callable[[int], str]
    unknown: str | Promise

    def posted(self, view: View) -> View:
        """Return the view that serves a form of the page, for signed-in users.

        Others sign in, and then get the page: the form's own address accepts no GET.
        """

        @wraps(view)
        def serve(request: HttpRequest) -> HttpResponse:
            if not request.user.is_authenticated:
                return redirect(sign_in_url(resolve_url(self.page)))
            return view(request)

        return cast("View", require_POST(never_cache(serve)))

    def end_one(self, request: HttpRequest, end: Callable[[], bool]) -> HttpResponse:
        """End one entry; report whether it existed, or that this is unknown."""
        try:
            existed = end()
        except StoreUnavailable:
            messages.error(request, str(self.unknown))
        else:
            if existed:
                messages.success(request, str(self.ended))
            else:
                messages.warning(request, str(self.missing))
        return redirect(self.page)

    def end_all(self, request: HttpRequest, end: Callable[[], int]) -> HttpResponse:
        """End all entries, unless the click came too soon; report how many there were."""
        if click_delay.is_too_soon(request):
            messages.warning(request, click_delay.TOO_SOON)
            return redirect(self.page)
        try:
            count = end()
        except StoreUnavailable:
            messages.error(request, str(self.unknown))
        else:
            text = self.ended_number(count) if count else str(self.ended_none)
            messages.success(request, text)
        return redirect(self.page)


def user_id(request: HttpRequest) -> str:
    """Return the id of the signed-in user."""
    return user_id_of(cast("AbstractBaseUser", request.user))
