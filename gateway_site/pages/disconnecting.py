"""Disconnect an account: a page that asks first, and allauth's own view that does it.

allauth refuses to disconnect the last account, which would lock its owner out.
"""

from __future__ import annotations

from typing import Any

from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.models import SocialAccount
from allauth.socialaccount.views import ConnectionsView
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.db import transaction
from django.http import Http404, HttpResponse
from django.urls import reverse_lazy
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache

from gateway_site.pages.connected import account_of


@method_decorator(never_cache, name="dispatch")
class DisconnectView(ConnectionsView):  # type: ignore[misc]  # allauth has no types
    """Ask about the account of the query, or about each; a POST disconnects."""

    success_url = reverse_lazy("home")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the accounts whose provider is still configured, with its name."""
        context: dict[str, Any] = super().get_context_data(**kwargs)
        providers = {found.sub_id: found for found in get_adapter().list_providers(self.request)}
        accounts = [account for account in self._asked_for() if account.provider in providers]
        context["accounts"] = [
            (providers[account.provider].name, account_of(providers[account.provider], account))
            for account in accounts
        ]
        return context

    def form_valid(self, form: Any) -> HttpResponse:
        """Disconnect once the session is stored without the tokens, or not at all."""
        with transaction.atomic():
            response: HttpResponse = super().form_valid(form)
            try:
                self.request.session.save()
            except UpdateError:
                raise SessionInterrupted("The session ended meanwhile.") from None
        return response

    def _asked_for(self) -> list[SocialAccount]:
        """Return the accounts to ask about. Raises Http404 for one that is not the person's."""
        own = SocialAccount.objects.filter(user=self.request.user).order_by("pk")
        asked = self.request.POST.get("account") or self.request.GET.get("account")
        if asked is None:
            return list(own)
        found = [account for account in own if str(account.pk) == asked]
        if not found:
            raise Http404
        return found
