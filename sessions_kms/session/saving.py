"""Writing sessions: new ones, and changes of all requests of this process to a stored one.

Of the requests that change one session, one writes and the others wait. It merges the changes of
all, in the order in which they came, into the newest version it knows, and writes once. A request
whose changes cannot be merged waits for its turn, or fails alone.
"""

from collections.abc import Callable
from dataclasses import replace

from django.contrib.sessions.backends.base import CreateError, UpdateError

from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.write_queue import BUSY, Waiter, WriteQueue
from sessions_kms.exceptions import (
    FateUnknown,
    InvalidRecord,
    SessionMoved,
    SessionTooLarge,
    StoreUnavailable,
    TableUnavailable,
)
from sessions_kms.format.record import SessionRecord
from sessions_kms.sealed_items import about
from sessions_kms.sealed_items.about import SessionMetadata
from sessions_kms.session import links
from sessions_kms.session.pending import (
    OUTCOME_UNKNOWN,
    PendingSave,
    PendingSession,
    StoredVersion,
    is_same,
)
from sessions_kms.session.repository import (
    LoadedVersion,
    SessionRepository,
    report_invalid_record,
)
from sessions_kms.storage.session_items import Conflict, RecordExists, Stored
from sessions_kms.telemetry import telemetry

Waiters = list[Waiter[PendingSave]]
Queue = WriteQueue[PendingSave]

NOT_STORABLE = (SessionTooLarge, ValueError, TypeError)  # raised before anything is sent


async def create(repository: SessionRepository, session: PendingSession) -> LoadedVersion:
    """Store a new session.

    Raises CreateError if a live one has its id, FateUnknown if it may still be stored,
    SessionTooLarge or ValueError if it is not allowed to be stored.
    """
    __traceback_hide__ = True
    session.check(repository, None)
    try:
        with telemetry.spanned("operation", "create"):  # KMS may fail, as well as the table
            return await _store_new(repository, session)
    except RecordExists:
        raise CreateError from None


async def _store_new(repository: SessionRepository, session: PendingSession) -> LoadedVersion:
    __traceback_hide__ = True
    services = repository.services
    record, version = await session.seal(repository, None)
    if version.links:
        await links.write(services, record, version.links)
    if labels := about.get_stored_labels(version):
        # A grant without labels would be in no list, and nobody could end it.
        is_optional = not services.for_grants
        await SessionMetadata(services).write(record, labels, is_optional=is_optional)
    await services.session_items.create(record, now=record.updated_at)
    return version


class Saving:
    """The save of one request: the pending session, and the version that it started from.

    Without ``merges``, it fails with UpdateError if another version is stored.
    """

    def __init__(
        self,
        repository: SessionRepository,
        session: PendingSession,
        base: LoadedVersion,
        *,
        merges: bool,
    ) -> None:
        self._repository = repository
        self._services = repository.services
        self._codec = repository.codec
        self._session = session
        self._save = PendingSave(base, session, merges)

    async def run(self) -> LoadedVersion:
        """Write the session, or have another request of this process write it.

        Return the version that was stored. Raises UpdateError, also if the stored item is invalid,
        StoreUnavailable, and SessionTooLarge or ValueError for a session that is not allowed to be
        stored.
        """
        __traceback_hide__ = True
        save = self._save
        # A session that is not allowed to be stored fails at once.
        save.session.check(self._repository, save.base)
        waiter = self._services.write_queues.join(save.base.id, save)
        try:
            if waiter.was_queued and save.is_mergeable:  # While the leader waits for DynamoDB.
                save.get_changes(self._codec)
            while not waiter.is_settled and await waiter.wait_to_lead():
                await self._write_for_all(waiter)
        except deadline.OutOfTime:
            if save.attempts.pending:
                raise TableUnavailable(OUTCOME_UNKNOWN) from None
            raise StoreUnavailable(BUSY) from None
        finally:
            waiter.leave()
        return save.get_result()

    async def _write_for_all(self, own: Waiter[PendingSave]) -> None:
        """Write once for all waiters, and settle those whose outcome is then known."""
        __traceback_hide__ = True
        queue = own.queue
        if pause := queue.pause():
            await self._services.wait(pause)
        waiting = queue.waiting()
        for waiter in waiting:
            _learn_base(queue, waiter)
        _settle_stored(queue, self._services.clock())
        try:
            chosen = _choose(queue, waiting)
            while chosen and not await self._try_write(own, chosen):
                chosen = chosen[: len(chosen) // 2]  # Alone, what cannot be stored fails alone.
        except InvalidRecord as exc:  # what is stored
            reason = exc.reason
        else:
            return
        _fail(queue.waiting(), UpdateError)
        await report_invalid_record(self._save.base.id, reason)

    async def _try_write(self, own: Waiter[PendingSave], chosen: Waiters) -> bool:
        """Write for these waiters; return False if fewer of them may be storable."""
        __traceback_hide__ = True
        queue = own.queue
        known: LoadedVersion = queue.known
        try:
            session = self._merge(own, chosen, known)
            if session is not self._session or known is not self._save.base:
                session.check(self._repository, known)
            record, version = await session.seal(self._repository, known)
            found = await self._send(queue, chosen, record, version)
        except NOT_STORABLE as exc:
            if chosen == [own]:
                raise
            if len(chosen) == 1:
                error = exc.with_traceback(None)  # its frames belong to another request
                _fail(chosen, lambda: error)
            return len(chosen) == 1
        if not isinstance(found, LoadedVersion):
            await self._settle(own, found)
            return True
        queue.known = version
        queue.note_write()
        _succeed(own, chosen, known, version)
        if known.links:
            await links.drop(self._services, record.id, known.links - version.links)
        if known.labels and about.get_stored_labels(known) and not about.get_stored_labels(version):
            await SessionMetadata(self._services).drop(record.id)
        return True

    def _merge(
        self, own: Waiter[PendingSave], chosen: Waiters, known: LoadedVersion
    ) -> PendingSession:
        """Return the pending session with the changes of all these waiters."""
        __traceback_hide__ = True
        first = chosen[0].work
        is_unmerged = first.base.is_unseen or first.starts_from(known)
        if len(chosen) > 1 or not is_unmerged:
            content = self._codec.loads(known.payload)
            for waiter in chosen:
                content = waiter.work.merge_into(content, self._codec)
            payload = self._codec.dumps(content)
        elif chosen == [own] and not own.was_queued:
            return self._session
        else:
            payload, content = first.session.payload, self._codec.loads(first.session.payload)
        signed_in = any(waiter.work.session.signed_in for waiter in chosen)
        return replace(self._session, content=content, payload=payload, signed_in=signed_in)

    async def _send(
        self, queue: Queue, chosen: Waiters, record: SessionRecord, version: LoadedVersion
    ) -> LoadedVersion | Stored:
        """Send a write; return the version that it stored, or otherwise the stored item."""
        __traceback_hide__ = True
        services = self._services
        known: LoadedVersion = queue.known
        if version.links:
            await links.write(
                services, record, links.links_to_write(services, record, version, known)
            )
        if version.labels and about.must_write(services, record, version, known):
            await SessionMetadata(services).write(record, about.get_stored_labels(version))
        before = [waiter.work.attempts.begin(version) for waiter in chosen]
        began = services.write_queues.steady()
        try:
            now = record.updated_at
            await services.session_items.replace(record, expected=known, now=now)
        except (Conflict, SessionTooLarge) as exc:
            for waiter, was_pending in zip(chosen, before, strict=True):
                waiter.work.attempts.pending = was_pending
            if isinstance(exc, SessionTooLarge):
                raise
            queue.is_contended = True
            telemetry.count("conflicts")
            found: LoadedVersion | Stored = exc.current
        except FateUnknown:
            return await self._repository.find(record.id)
        else:
            found = version
        services.write_queues.note_latency(services.write_queues.steady() - began)
        return found

    async def _settle(self, own: Waiter[PendingSave], stored: Stored) -> None:
        """Settle those whose outcome the stored item decides, and continue from it."""
        __traceback_hide__ = True
        queue = own.queue
        if isinstance(stored, SessionRecord):
            _settle_applied(queue, stored)
        try:
            record = await self._repository.require_live(stored)
        except (SessionMoved, UpdateError) as exc:
            _fail(queue.waiting(), type(exc))
            return
        known: LoadedVersion = queue.known
        _settle_unknown(queue, known, record)
        if is_same(known, record):  # An attempt may still be applied.
            await self._services.wait(own.budget.next_pause())
        else:
            key = self._session.session_key
            queue.known = (await self._repository.decrypt_current(record, key))[0]


def _learn_base(queue: Queue, waiter: Waiter[PendingSave]) -> None:
    """Use the version that a request has loaded, if it is the newest that is known."""
    save = waiter.work
    if save.is_base_known:  # Once: later reads of the table are newer, whatever their revision.
        return
    save.is_base_known = True
    known, base = queue.known, save.base
    if known is None or base.revision > known.revision:
        if known is not None:
            _settle_applied(queue, base)
            _settle_unknown(queue, known, base)
        queue.known = replace(base, is_unseen=False) if base.is_unseen else base


def _choose(queue: Queue, waiting: Waiters) -> Waiters:
    """Return the waiters that can share the next write; fail those that can never be written."""
    known: LoadedVersion = queue.known
    waiting = [waiter for waiter in waiting if not waiter.is_settled]
    if len(waiting) == 1 and waiting[0].work.base is known:  # The usual case.
        return waiting
    if waiting and not waiting[0].work.is_mergeable:
        first = waiting[0].work
        if first.base.is_unseen or first.starts_from(known):
            return waiting[:1]
        _fail(waiting[:1], UpdateError)
    mergeable = [waiter for waiter in waiting if waiter.work.is_mergeable]
    others = [waiter for waiter in mergeable if waiter.work.session.user_id != known.user_id]
    _fail(others, UpdateError)
    return [waiter for waiter in mergeable if waiter not in others] if others else mergeable


def _settle_stored(queue: Queue, now: float) -> None:
    """Settle those who need no write of their own any more."""
    for waiter in queue.waiting():
        if waiter.work.is_stored_in(queue.known, now):
            waiter.work.saved = queue.known
            waiter.settle()


def _settle_applied(queue: Queue, stored: StoredVersion) -> None:
    """Settle those whose changes are in the stored version."""
    for waiter in queue.waiting():
        if waiter.work.settle_if_applied(stored):
            waiter.settle()


def _settle_unknown(queue: Queue, expected: LoadedVersion, stored: StoredVersion) -> None:
    """Fail those whose outcome can never be known."""
    for waiter in queue.waiting():
        if waiter.work.settle_if_unknown(expected, stored):
            waiter.settle()


def _succeed(
    own: Waiter[PendingSave], chosen: Waiters, known: LoadedVersion, version: LoadedVersion
) -> None:
    for waiter in chosen:
        save = waiter.work
        if not save.starts_from(known) and not save.base.is_unseen:
            telemetry.count("merges")
        if waiter is not own:
            telemetry.count("shared")
        save.saved = version
        waiter.settle()


def _fail(waiters: Waiters, error: Callable[[], Exception]) -> None:
    """Fail each waiter with a separate error."""
    for waiter in waiters:
        waiter.work.error = error()
        waiter.settle()
