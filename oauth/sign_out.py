"""The end of a request that let token sets go: they are revoked once it is known that it did."""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from oauth.logout import deferred_revocation
from sessions_kms.concurrency.sync_and_async import CallInDjangosThread, SyncAndAsyncMiddleware
from sessions_kms.services import services


class SignOutMiddleware(SyncAndAsyncMiddleware):
    """Revokes what a request let go, once the session's middleware has saved that it did.

    Holds no thread while a response is streamed.
    """

    async def process(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on, and look at what it left behind."""
        response: HttpResponseBase = await self.get_answer(request)
        if deferred_revocation.has_pending_revocations(request):
            await CallInDjangosThread(
                deferred_revocation.revoke_pending, (services(), request, response)
            )
        return response
