"""A session moved to a new key, in one transaction, tried until its time budget is used up."""

from dataclasses import replace

from sessions_kms.concurrency.write_queue import BUSY
from sessions_kms.exceptions import FateUnknown, StoreUnavailable
from sessions_kms.format.item_types import session_id
from sessions_kms.format.record import SessionRecord
from sessions_kms.sealed_items import about
from sessions_kms.sealed_items.about import SessionMetadata
from sessions_kms.session import links, next_cookie
from sessions_kms.session.pending import (
    OUTCOME_UNKNOWN,
    PendingSession,
    WriteAttempts,
    WriteOutcome,
    merge_pending,
)
from sessions_kms.session.repository import LoadedVersion, SessionRepository
from sessions_kms.storage.session_items import Conflict, Stored
from sessions_kms.telemetry import telemetry


class Moving:
    """One key change: ``session`` goes under the new key, ``base`` ends under the old one."""

    def __init__(
        self, repository: SessionRepository, session: PendingSession, base: LoadedVersion
    ) -> None:
        self._repository = repository
        self._services = repository.services
        self._session = session
        self._base = base
        self._old_key, self._old_id = base.session_key, base.id
        self._new_id = session_id(self._services.config.namespace, session.session_key)
        self._attempts = WriteAttempts()

    async def run(self) -> LoadedVersion:
        """Try until an attempt is applied; return the version that it stored.

        Raises UpdateError if the session has ended, SessionMoved or StoreUnavailable if that
        cannot be decided or the time budget is used up.
        """
        __traceback_hide__ = True
        budget = self._services.write_queues.start_budget()
        while True:
            expected = self._base
            if (version := await self._attempt()) is not None:
                await links.drop(self._services, self._old_id, self._base.links)
                return version
            if budget.is_exhausted:
                raise StoreUnavailable(BUSY)
            if self._base is expected:  # An attempt may still be applied.
                await self._services.wait(budget.next_pause())

    async def _attempt(self) -> LoadedVersion | None:
        """Try once; return the applied version, or have the next attempt expect the stored one."""
        __traceback_hide__ = True
        try:
            await self._send()
        except Conflict as exc:
            stored = exc.current
            telemetry.count("conflicts")
        except FateUnknown:
            self._attempts.pending = True
            stored = await self._repository.find(self._old_id)
        else:
            return self._attempts.made[-1]
        if (applied := await self._find_applied(stored)) is None:
            await self._expect(stored)
        return applied

    async def _send(self) -> None:
        __traceback_hide__ = True
        services, base = self._services, self._base
        self._session.check(self._repository, base)
        record, version = await self._session.seal(self._repository, base)
        self._attempts.made.append(version)
        await links.write(services, record, version.links)
        # From here on the key may change, even if the transaction fails.
        next_cookie.note_possible_change(
            self._old_key, version.session_key, services.config.namespace
        )
        labels = about.get_stored_labels(version)
        await services.session_items.move(
            record,
            old_id=self._old_id,
            expected=base,
            now=record.updated_at,
            put=await SessionMetadata(services).seal(record, labels) if labels else None,
            delete=about.id_of(services, self._old_id) if base.labels else None,
        )

    async def _find_applied(self, stored: Stored) -> LoadedVersion | None:
        """Return the attempt that was applied, by what is stored under the old or the new id."""
        __traceback_hide__ = True
        if not isinstance(stored, SessionRecord):
            stored = await self._repository.find(self._new_id)
        return self._attempts.find_applied(stored) if isinstance(stored, SessionRecord) else None

    async def _expect(self, stored: Stored) -> None:
        """Have the next attempt expect the stored version, which shows that none was applied."""
        __traceback_hide__ = True
        record = await self._repository.require_live(stored)
        outcome = self._attempts.get_outcome(self._base, record)
        if outcome is WriteOutcome.UNKNOWN:
            raise StoreUnavailable(OUTCOME_UNKNOWN)
        if outcome is WriteOutcome.UNDECIDED:
            return
        self._attempts.mark_overtaken()
        theirs, content = await self._repository.decrypt_current(record, self._old_key)
        if self._base.is_unseen:
            self._base = replace(theirs, is_unseen=True)
        else:
            codec = self._repository.codec
            self._session = merge_pending(codec, self._session, self._base, theirs, content)
            self._base = theirs
            telemetry.count("merges")
