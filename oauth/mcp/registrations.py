"""Which client this gateway is at a server's issuer: found, or registered when it is needed.

First the client that the operator set counts, then a client metadata document where the server
supports them, then dynamic registration. A token set stays with the registration that made it; a
new registration serves new connections only, because some servers end the grants of a client that
registers again.

A server may delete a registration without telling anybody, and would then show people its own error
page, from which no way leads back. So before somebody is sent there with a registration that is
older than a day, the token endpoint is asked with a code that nobody issued.
"""

import hashlib
import logging
import secrets
from collections.abc import Collection
from contextlib import suppress
from functools import partial
from typing import Final

from django.urls import reverse

from oauth.codes import Code
from oauth.exceptions import ProviderRefused, ProviderUnavailable
from oauth.mcp import client_documents, client_key, registration_request
from oauth.mcp.discovery import Discovered
from oauth.mcp.provider import provider_of_registration
from oauth.mcp.registration import DOCUMENT, DYNAMIC, Registration
from oauth.mcp.registration_request import MadeClient, UnusableClient, is_unknown_client
from oauth.mcp.stored_registrations import (
    Pause,
    StoredRegistrations,
    load_registrations,
    operators_registration,
    update_registrations,
)
from oauth.network.concurrency import ConcurrencyLimit
from oauth.provider.config import PRIVATE_KEY
from sessions_kms import Leases, StoreUnavailable
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.services import Services, services

logger = logging.getLogger(__name__)

CALLBACK_URL: Final = "oauth_connect_callback"  # the name of its pattern
PAUSE_AFTER_FAILURE: Final = 60  # seconds until a server that made no client is asked again
PAUSE_AFTER_CLIENT: Final = 3600  # seconds until a server is asked for another client
LEASE_SECONDS: Final = 30
SCOPES_MAX: Final = 50  # of a registration, beyond those that are requested
WAIT_MAX: Final = 12.0  # seconds to wait for another process that registers
POLL_SECONDS: Final = 0.25
CONFIRMED_FOR: Final = 60  # seconds for which a process takes a server's response as true
CONFIRMED_MAX: Final = 256  # clients about which a process remembers that
REQUESTS_MAX: Final = 16  # connections of one server and process that wait for a registration

requests = ConcurrencyLimit(REQUESTS_MAX)
# When a server was last found to know a client, by issuer and client id.
confirmed: dict[tuple[str, str], float] = {}


def registration_for(
    discovered: Discovered, redirect_uri: str, scopes: Collection[str] | None = None
) -> Registration:
    """Return the registration for a new connection, of which the server is told if need be.

    ``scopes`` are those that will be requested, if they are not the discovered ones. Waits for the
    network and for other processes, so call it in a thread and for a signed-in user. Raises
    ProviderUnavailable (ProviderBusy if too many wait), ProviderRefused and StoreUnavailable.
    """
    __traceback_hide__ = True
    wanted = tuple(sorted(discovered.scopes if scopes is None else scopes))
    registering = _Registering(services(), discovered, redirect_uri, wanted)
    return registering.find_known() or registering.find_or_make_dynamic()


def known_registration(discovered: Discovered) -> Registration:
    """Return the registration by a client id that others can know; registers nowhere.

    That is the operator's client, or this gateway's document. Raises ProviderRefused if there is
    neither, ProviderUnavailable and StoreUnavailable.
    """
    __traceback_hide__ = True
    path = reverse(CALLBACK_URL, args=[discovered.server.name])
    redirect_uri = client_documents.client_settings().origin + path
    found = _Registering(services(), discovered, redirect_uri, ()).find_known()
    if found is None:
        raise ProviderRefused(
            "The server takes no client metadata documents, so the operator has to set a client.",
            Code.REGISTRATION_MISSING,
        )
    return found


class _Registering:
    """Finding or making one registration."""

    def __init__(
        self,
        made: Services,
        discovered: Discovered,
        redirect_uri: str,
        scopes: tuple[str, ...],
    ) -> None:
        self._services = made
        self._discovered = discovered
        self._server = discovered.server
        self._issuer = discovered.issuer
        self._metadata = discovered.metadata
        self._redirect_uri = redirect_uri
        self._scopes = scopes

    def find_known(self) -> Registration | None:
        """Return the registration by the operator's client id, or by a document."""
        __traceback_hide__ = True
        if self._server.client_id is not None:
            return operators_registration(self._server, self._issuer, self._redirect_uri)
        if self._metadata.documents_supported and client_documents.may_use_document(self._issuer):
            return self._described_by_document()
        return None

    def _described_by_document(self) -> Registration:
        """Return the registration of the document, which stays as it is while it can be used."""
        client_id = client_documents.document_url(self._server.name)
        has_keys = PRIVATE_KEY in self._metadata.auth_methods
        found = self._load().newest(DOCUMENT, self._issuer, self._redirect_uri)
        is_usable = found is not None and (found.auth_method is None or has_keys)
        if found is None or not is_usable or found.client_id != client_id:
            method = PRIVATE_KEY if has_keys else None
            found = self._new(DOCUMENT, MadeClient(client_id, "", method, None), self._scopes)
            self._store(found)
            client_documents.known.pop(client_id, None)
        if found.auth_method == PRIVATE_KEY:  # The key may also have been deleted.
            algorithms = self._metadata.auth_algorithms
            client_key.ensure_key(self._services, self._server.name, algorithms)
        return found

    def find_or_make_dynamic(self) -> Registration:
        """Return the newest dynamic registration, or make another if it cannot be used."""
        __traceback_hide__ = True
        current = self._newest(self._load())
        if current is not None and self._is_fresh(current):
            return current
        with requests.slot(self._server.name):
            return self._register(None) if current is None else self._checked(current)

    def _is_fresh(self, registration: Registration) -> bool:
        """Return True if a registration can be used without asking the server."""
        now = self._now()
        if registration.has_expired(now) or self._lacks_scopes(registration):
            return False
        known_at = confirmed.get((self._issuer, registration.client_id), 0.0)
        return not registration.is_older_than_a_day(now) or 0 <= now - known_at < CONFIRMED_FOR

    def _lacks_scopes(self, registration: Registration) -> bool:
        """Return True if other scopes were registered; some servers allow a client no others."""
        return not {*self._scopes} <= {*registration.scopes}

    def _checked(self, current: Registration) -> Registration:
        """Return a registration if the server still knows it, or a new one."""
        __traceback_hide__ = True
        if current.has_expired(self._now()):
            logger.info("The registration with %s expires: a new one is made.", self._server.name)
            return self._register(current)
        if self._lacks_scopes(current):
            # All of them, so that two people who want different ones do not take turns.
            self._scopes = tuple(sorted({*self._scopes, *current.scopes}))
            with suppress(ProviderUnavailable, ProviderRefused):
                return self._register(current)
        provider = provider_of_registration(self._server, current, self._discovered.resource)
        uri, clock = current.redirect_uri, self._services.clock
        if is_unknown_client(provider, self._metadata, redirect_uri=uri, clock=clock):
            logger.warning("%s no longer knows this gateway: it registers.", self._server.name)
            return self._register(current)
        if len(confirmed) >= CONFIRMED_MAX:
            confirmed.clear()
        confirmed[self._issuer, current.client_id] = self._now()
        return current

    def _register(self, replaced: Registration | None) -> Registration:
        """Register, or wait for the process that does."""
        __traceback_hide__ = True
        leases, holder, waited = Leases(self._services), secrets.token_hex(16), 0.0
        name = self._lease_name()
        while True:
            claim = run_sync(leases.claim(name, holder, seconds=LEASE_SECONDS))
            if claim.held:
                try:
                    return self._register_once(replaced)
                finally:
                    with suppress(StoreUnavailable):
                        run_sync(leases.release(name, holder))
            found = self._newest(self._load())
            if found is not None and found != replaced:
                return found
            if waited >= WAIT_MAX:
                raise ProviderUnavailable(
                    "Another process registers at the server.", Code.REGISTRATION_PAUSED
                )
            self._services.sleep(POLL_SECONDS)
            waited += POLL_SECONDS

    def _register_once(self, replaced: Registration | None) -> Registration:
        """Register with the lease, unless another process did so before, or a moment ago."""
        __traceback_hide__ = True
        stored = self._load()
        found = self._newest(stored)
        if found is not None and found != replaced:
            return found
        left = stored.pause_left(self._issuer, self._redirect_uri, self._now())
        if left:
            raise ProviderUnavailable(
                "This gateway registered at the server, or tried to, a short while ago.",
                Code.REGISTRATION_PAUSED,
                retry_after=left,
            )
        self._pause(PAUSE_AFTER_FAILURE)  # before the request: it counts if this process dies
        new = self._request()
        self._store(new, pause=PAUSE_AFTER_CLIENT)
        logger.info("This gateway has registered as a client of %s.", self._server.name)
        return new

    def _request(self) -> Registration:
        """Have the server make a client, if it lets this gateway for all of its scopes.

        Some servers allow a client only the scopes that it registered, and people may need more of
        them than those that are requested at first.
        """
        __traceback_hide__ = True
        every = tuple(sorted({*self._scopes, *self._metadata.scopes}))
        if self._scopes and every != self._scopes and len(every) <= SCOPES_MAX:
            try:
                return self._request_for(every)
            except UnusableClient:
                raise
            except ProviderRefused:
                logger.info("%s does not register clients for all scopes.", self._server.name)
        return self._request_for(self._scopes)

    def _request_for(self, scopes: tuple[str, ...]) -> Registration:
        __traceback_hide__ = True
        ours = client_documents.client_settings()
        content = registration_request.make_metadata(
            name=ours.name,
            origin=ours.origin,
            redirect_uri=self._redirect_uri,
            auth_method=registration_request.choose_auth_method(self._metadata.auth_methods),
        )
        if scopes:
            content["scope"] = " ".join(scopes)
        try:
            client = registration_request.request_registration(
                self._metadata, content, redirect_uri=self._redirect_uri, now=self._now()
            )
        except UnusableClient:
            self._pause(PAUSE_AFTER_CLIENT)
            raise
        return self._new(DYNAMIC, client, scopes)

    def _new(self, source: str, client: MadeClient, scopes: tuple[str, ...]) -> Registration:
        __traceback_hide__ = True
        return Registration(
            client_id=client.client_id,
            client_secret=client.client_secret,
            auth_method=client.auth_method,
            secret_expires_at=client.secret_expires_at,
            issuer=self._issuer,
            redirect_uri=self._redirect_uri,
            source=source,
            made_at=int(self._now()),
            scopes=scopes,
        )

    def _load(self) -> StoredRegistrations:
        return load_registrations(self._services, self._server.name)

    def _newest(self, stored: StoredRegistrations) -> Registration | None:
        return stored.newest(DYNAMIC, self._issuer, self._redirect_uri)

    def _store(self, registration: Registration, *, pause: int | None = None) -> None:
        __traceback_hide__ = True

        def add(stored: StoredRegistrations) -> StoredRegistrations:
            after = stored.adding(registration)
            return after if pause is None else self._pausing(pause, after)

        update_registrations(self._services, self._server.name, add)

    def _pause(self, seconds: int) -> None:
        update_registrations(self._services, self._server.name, partial(self._pausing, seconds))

    def _pausing(self, seconds: int, stored: StoredRegistrations) -> StoredRegistrations:
        now = self._now()
        return stored.pausing(Pause(self._issuer, self._redirect_uri, int(now) + seconds), now)

    def _now(self) -> float:
        return self._services.clock()

    def _lease_name(self) -> str:
        """Return the name of the lease, of the form that leases have. It protects no content."""
        parts = (self._server.name, self._issuer, self._redirect_uri)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
