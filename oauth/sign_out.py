"""Revokes the token sets that a request removed from its session."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from oauth.logout import deferred_revocation
from sessions_kms.concurrency.sync_and_async import CallInDjangosThread, SyncAndAsyncMiddleware
from sessions_kms.services import services


class SignOutMiddleware(SyncAndAsyncMiddleware):
    """Revokes the token sets that a request removed, after the session has been saved.

    It occupies no thread while a response is streamed.
    """

    async def process(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on, and revoke what is pending afterwards."""
        response: HttpResponseBase = await self.await_response(request)
        if deferred_revocation.has_pending_revocations(request):
            started = await CallInDjangosThread(
                deferred_revocation.revoke_pending, (services(), request, response)
            )
            await deferred_revocation.wait_for_connections(started)
        return response
