"""Ending one or all entries of the lists of sessions and of apps: end, say how it went, go back."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from oauth.sign_in import click_delay
from sessions_kms import StoreUnavailable


def end_entry(
    request: HttpRequest,
    page: str,
    end: Callable[[], bool],
    *,
    ended: str,
    missing: str,
    unknown: str,
) -> HttpResponse:
    """End one entry of a page; say whether it was there, or that nobody knows."""
    try:
        was_there = end()
    except StoreUnavailable:
        messages.error(request, unknown)
    else:
        tell = messages.success if was_there else messages.warning
        tell(request, ended if was_there else missing)
    return redirect(page)


def end_all_entries(
    request: HttpRequest,
    page: str,
    end: Callable[[], int],
    *,
    ended: Callable[[int], str],
    unknown: str,
) -> HttpResponse:
    """End all entries of a page, unless the click came too soon; say how many there were."""
    if click_delay.is_too_soon(request):
        messages.warning(request, click_delay.TOO_SOON)
        return redirect(page)
    try:
        number = end()
    except StoreUnavailable:
        messages.error(request, unknown)
    else:
        messages.success(request, ended(number))
    return redirect(page)
