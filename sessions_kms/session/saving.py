"""Writing a session that is stored already, for all requests of this process that change it.

One of them writes, the others wait: it lays the changes of all, in the order in which they came,
over what it knows to be stored, and writes once. All whose changes are in the record that is
stored go on from that; what cannot be laid over the others' waits, or fails alone.
"""

from collections.abc import Callable
from dataclasses import replace

from django.contrib.sessions.backends.base import UpdateError

from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.lanes import BUSY, Lane, Place
from sessions_kms.exceptions import (
    FateUnknown,
    InvalidRecord,
    SessionMoved,
    SessionTooLarge,
    StoreUnavailable,
)
from sessions_kms.format.record import SessionRecord
from sessions_kms.format.serializer import Codec
from sessions_kms.sealed_items import about
from sessions_kms.sealed_items.about import About
from sessions_kms.services import Services
from sessions_kms.session import links
from sessions_kms.session.draft import Draft, check, sealed
from sessions_kms.session.fate import CANNOT_BE_TOLD, Standing, is_same
from sessions_kms.session.loading import Loading, refused
from sessions_kms.session.parts import Part
from sessions_kms.session.snapshot import Snapshot
from sessions_kms.storage.session_items import Conflict, Stored
from sessions_kms.telemetry import telemetry

Places = list[Place[Part]]

NOT_STORABLE = (SessionTooLarge, ValueError, TypeError)  # told before anything is sent


class Saving:
    """One request's save. ``draft`` is what it wants stored, ``base`` what it started from."""

    def __init__(
        self, services: Services, codec: Codec, loading: Loading, draft: Draft, base: Snapshot
    ) -> None:
        self._services = services
        self._codec = codec
        self._loading = loading
        self._draft = draft
        self._part = Part(base, draft)

    async def saved(self) -> Snapshot:
        """Write the session, or have it written by another request of this process.

        Gives the snapshot to go on from. Raises InvalidRecord for what stands, UpdateError,
        StoreUnavailable, and for what may not be stored SessionTooLarge or ValueError.
        """
        __traceback_hide__ = True
        part = self._part
        # What may not be stored by itself is told at once.
        check(self._services, self._codec, part.draft, part.base)
        place = self._services.lanes.join(part.base.id, part)
        try:
            if place.has_waited and part.is_plain:  # Whoever leads waits for DynamoDB meanwhile.
                part.look(self._codec)
            while not place.is_settled and await place.leads():
                await self._round(place)
        except deadline.OutOfTime:
            raise StoreUnavailable(CANNOT_BE_TOLD if part.tries.pending else BUSY) from None
        finally:
            place.leave()
        return part.outcome()

    async def _round(self, own: Place[Part]) -> None:
        """Write once for all who wait, and settle those whose fate is known by then."""
        __traceback_hide__ = True
        lane = own.lane
        if pause := lane.pause():
            await self._services.wait(pause)
        waiting = lane.waiting()
        for place in waiting:
            _meet(lane, place)
        try:
            taken = _together(lane, waiting)
            while taken and not await self._is_tried(own, taken):
                taken = taken[: len(taken) // 2]  # One asks too much: who, is told when alone.
        except InvalidRecord as exc:  # what stands
            reason = exc.reason
        else:
            return
        _fail(lane.waiting(), UpdateError)
        await refused(self._part.base.id, reason)

    async def _is_tried(self, own: Place[Part], taken: Places) -> bool:
        """Try to write for these; False where that may not be stored, but fewer may."""
        __traceback_hide__ = True
        lane = own.lane
        known: Snapshot = lane.known
        try:
            draft = self._together(own, taken, known)
            record, made = await sealed(
                self._services,
                self._codec,
                draft,
                known,
                is_checked=draft is self._draft and known is self._part.base,
            )
            found = await self._sent(lane, taken, record, made)
        except NOT_STORABLE as exc:
            if taken == [own]:
                raise
            if len(taken) == 1:
                error = exc.with_traceback(None)  # whose frames are another request's
                _fail(taken, lambda: error)
            return len(taken) == 1
        if not isinstance(found, Snapshot):
            await self._judge(own, found)
            return True
        lane.known = made
        lane.won()
        _succeed(own, taken, known, made)
        if known.links:
            await links.drop(self._services, record.id, known.links - made.links)
        if known.about and about.told(known) and not about.told(made):
            await About(self._services).drop(record.id)
        return True

    def _together(self, own: Place[Part], taken: Places, known: Snapshot) -> Draft:
        """Return what all of these want stored."""
        __traceback_hide__ = True
        first = taken[0].wants
        as_it_is = first.base.replaced or first.starts_from(known)
        if len(taken) > 1 or not as_it_is:
            content = self._codec.loads(known.payload)
            for place in taken:
                content = place.wants.laid_over(content, self._codec)
            payload = self._codec.dumps(content)
        elif taken == [own] and not own.has_waited:
            return self._draft
        else:
            payload, content = first.draft.payload, self._codec.loads(first.draft.payload)
        signed_in = any(place.wants.draft.signed_in for place in taken)
        return replace(self._draft, content=content, payload=payload, signed_in=signed_in)

    async def _sent(
        self, lane: Lane[Part], taken: Places, record: SessionRecord, made: Snapshot
    ) -> Snapshot | Stored:
        """Send a write; return what it made, or else what stands."""
        __traceback_hide__ = True
        services = self._services
        known: Snapshot = lane.known
        if made.links:
            await links.write(services, record, links.due(services, record, made, known))
        if made.about and about.is_due(services, record, made, known):
            await About(services).write(record, about.told(made))
        before = [place.wants.tries.begin(made) for place in taken]
        began = services.lanes.steady()
        try:
            now = record.updated_at
            await services.session_items.replace(record, expected=known, now=now)
        except (Conflict, SessionTooLarge) as exc:
            for place, was_pending in zip(taken, before, strict=True):
                place.wants.tries.pending = was_pending
            if isinstance(exc, SessionTooLarge):
                raise
            lane.contended = True
            telemetry.count("conflicts")
            found: Snapshot | Stored = exc.current
        except FateUnknown:
            return await self._loading.standing(record.id)
        else:
            found = made
        services.lanes.took(services.lanes.steady() - began)
        return found

    async def _judge(self, own: Place[Part], current: Stored) -> None:
        """Settle those whose fate what stands now tells, and go on from it."""
        __traceback_hide__ = True
        lane = own.lane
        if isinstance(current, SessionRecord):
            _recognize(lane, current)
        try:
            stands = await self._loading.live(current)
        except (SessionMoved, UpdateError) as exc:
            _fail(lane.waiting(), type(exc))
            return
        known: Snapshot = lane.known
        _give_up(lane, known, stands)
        if is_same(known, stands):  # One may arrive yet.
            await self._services.wait(own.patience.pause())
        else:
            key = self._draft.session_key
            lane.known = (await self._loading.surely_opened(stands, key))[0]


def _meet(lane: Lane[Part], place: Place[Part]) -> None:
    """Learn from what a request has loaded, if it is the newest that is known."""
    part = place.wants
    if part.met:  # Once: what the table tells later is newer, whatever its number.
        return
    part.met = True
    known, found = lane.known, part.base
    if known is None or found.revision > known.revision:
        if known is not None:
            _recognize(lane, found)
            _give_up(lane, known, found)
        lane.known = replace(found, replaced=False) if found.replaced else found


def _together(lane: Lane[Part], waiting: Places) -> Places:
    """Return those who can share the next write, and fail those who cannot be written at all."""
    known: Snapshot = lane.known
    waiting = [place for place in waiting if not place.is_settled]
    if len(waiting) == 1 and waiting[0].wants.base is known:  # One alone: nearly always.
        return waiting
    if waiting and not waiting[0].wants.is_plain:
        first = waiting[0].wants
        if first.base.replaced or first.starts_from(known):
            return waiting[:1]
        _fail(waiting[:1], UpdateError)
    plain = [place for place in waiting if place.wants.is_plain]
    others = [place for place in plain if place.wants.draft.user_id != known.user_id]
    _fail(others, UpdateError)
    return [place for place in plain if place not in others] if others else plain


def _recognize(lane: Lane[Part], stands: Standing) -> None:
    """Let those go whose changes are in what stands."""
    for place in lane.waiting():
        if place.wants.is_in(stands):
            place.settle()


def _give_up(lane: Lane[Part], expected: Snapshot, stands: Standing) -> None:
    """Fail those of which it can never be told whether they are."""
    for place in lane.waiting():
        if place.wants.is_lost(expected, stands):
            place.settle()


def _succeed(own: Place[Part], taken: Places, known: Snapshot, made: Snapshot) -> None:
    for place in taken:
        part = place.wants
        if not part.starts_from(known) and not part.base.replaced:
            telemetry.count("merges")
        if place is not own:
            telemetry.count("shared")
        part.written = made
        place.settle()


def _fail(places: Places, error: Callable[[], Exception]) -> None:
    """Fail each with an error of its own."""
    for place in places:
        place.wants.error = error()
        place.settle()
