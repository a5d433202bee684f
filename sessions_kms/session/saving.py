"""Writing a session that is stored already, for all requests of this process that change it.

One of them writes, the others wait: it lays the changes of all, in the order in which they came,
over what it knows to be stored, and writes once. All whose changes are in the record that is
stored go on from that; what cannot be laid over the others' waits, or fails alone.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from django.contrib.auth import SESSION_KEY as USER_ID
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
from sessions_kms.format.ancestors import succeeding
from sessions_kms.format.record import SessionRecord
from sessions_kms.format.tombstone import Tombstone
from sessions_kms.sealed_items import about
from sessions_kms.sealed_items.sealing import Sealing
from sessions_kms.services import services
from sessions_kms.session import anonymous, links, next_cookie
from sessions_kms.session.fate import CANNOT_BE_TOLD, Standing, is_same
from sessions_kms.session.loading import refuse
from sessions_kms.session.parts import Part
from sessions_kms.session.rebasing import RebasingStore, live
from sessions_kms.session.snapshot import Baseline
from sessions_kms.storage.doubts import once_more
from sessions_kms.storage.table import Conflict
from sessions_kms.telemetry import telemetry

Stored = SessionRecord | Tombstone | None
Places = list[Place[Part]]

NOT_STORABLE = (SessionTooLarge, ValueError, TypeError)  # told before anything is sent


class SavingStore(RebasingStore):
    """A session that can be stored again."""

    def _save_shared(self, payload: bytes) -> None:
        """Write the session, or have it written by another request of this process.

        Raises UpdateError, StoreUnavailable, and for what may not be stored SessionTooLarge or
        ValueError.
        """
        __traceback_hide__ = True
        baseline = self._expected()
        self._check_size(baseline, payload)  # What may not be stored by itself is told at once.
        self._check_links(baseline)
        part = Part(baseline, payload, self._session_cache.get(USER_ID), self._signed_in)
        place = services().lanes.join(baseline.id, part)
        try:
            if place.has_waited and part.is_plain:  # Whoever leads waits for DynamoDB meanwhile.
                part.look(self._codec)
            while place.leads():
                self._round(place)
        except deadline.OutOfTime:
            raise StoreUnavailable(CANNOT_BE_TOLD if part.tries.pending else BUSY) from None
        finally:
            place.leave()
        made = part.outcome()
        if made.payload != payload:
            self._go_on_with(payload, self._codec.loads(made.payload))
        self._stored(made)

    def _round(self, own: Place[Part]) -> None:
        """Write once for all who wait, and settle those whose fate is known by then."""
        __traceback_hide__ = True
        lane = own.lane
        services().wait(lane.pause())
        waiting = lane.waiting()
        for place in waiting:
            _meet(lane, place)
        try:
            taken = _together(lane, [place for place in waiting if not place.is_settled])
            while taken and not self._is_tried(own, taken):
                taken = taken[: len(taken) // 2]  # One asks too much: who, is told when alone.
        except InvalidRecord as exc:  # what stands
            refuse(self._id(), exc)
            _fail(lane.waiting(), UpdateError)

    def _is_tried(self, own: Place[Part], taken: Places) -> bool:
        """Try to write for these; False where that may not be stored, but fewer may."""
        __traceback_hide__ = True
        lane = own.lane
        known: Baseline = lane.known
        try:
            writer, payload = self._writer(own, taken, known)
            record, made = writer._seal(self._key, known, payload)
            found = self._sent(lane, taken, record, made)
        except NOT_STORABLE as exc:
            if taken == [own]:
                raise
            if len(taken) == 1:
                error = exc.with_traceback(None)  # whose frames are another request's
                _fail(taken, lambda: error)
            return len(taken) == 1
        if not isinstance(found, Baseline):
            self._judge(own, found)
            return True
        lane.known = made
        lane.won()
        _succeed(own, taken, known, made)
        links.drop(services(), record.id, known.links - made.links)
        if about.told(known) and not about.told(made):
            about.About(services()).drop(record.id)
        return True

    def _writer(
        self, own: Place[Part], taken: Places, known: Baseline
    ) -> "tuple[SavingStore, bytes]":
        """Return a session that holds what all of these want stored, and that serialized."""
        __traceback_hide__ = True
        first = taken[0].wants
        as_it_is = first.baseline.replaced or first.starts_from(known)
        if len(taken) > 1 or not as_it_is:
            content = self._codec.loads(known.payload)
            for place in taken:
                content = place.wants.laid_over(content, self._codec)
            payload = self._codec.dumps(content)
        elif taken == [own] and not own.has_waited:
            return self, first.payload
        else:
            payload, content = first.payload, self._codec.loads(first.payload)
        writer = type(self)(self.session_key)
        writer._session_cache = content
        writer._signed_in = any(place.wants.signed_in for place in taken)
        return writer, payload

    def _sent(
        self, lane: Lane[Part], taken: Places, record: SessionRecord, made: Baseline
    ) -> Baseline | Stored:
        """Send a write; return what it made, or else what stands."""
        __traceback_hide__ = True
        known: Baseline = lane.known
        lanes = services().lanes
        links.write(services(), record, links.due(services(), record, made, known))
        if about.is_due(services(), record, made, known):
            about.About(services()).write(record, about.told(made))
        tries = [place.wants.tries for place in taken]
        before = [each.begin(made) for each in tries]
        began = lanes.steady()
        try:
            services().table.replace(record, expected=known, now=record.updated_at)
        except (Conflict, SessionTooLarge) as exc:
            for each, was_pending in zip(tries, before, strict=True):
                each.pending = was_pending
            if isinstance(exc, SessionTooLarge):
                raise
            lane.contended = True
            telemetry.count("conflicts")
            found: Baseline | Stored = exc.current
        except FateUnknown:
            return self._standing(record.id)
        else:
            found = made
        lanes.took(lanes.steady() - began)
        return found

    def _judge(self, own: Place[Part], current: Stored) -> None:
        """Settle those whose fate what stands now tells, and go on from it."""
        __traceback_hide__ = True
        lane = own.lane
        if isinstance(current, SessionRecord):
            _recognize(lane, current)
        try:
            stands = live(current)
        except (SessionMoved, UpdateError) as exc:
            _fail(lane.waiting(), type(exc))
            return
        known: Baseline = lane.known
        _give_up(lane, known, stands)
        if is_same(known, stands):  # One may arrive yet.
            services().wait(own.patience.pause())
        else:
            lane.known = self._open_surely(stands)[0]

    def _standing(self, record_id: str) -> Stored:
        """Return what stands under an id; what is not valid is read once more."""
        return once_more(partial(services().table.find, record_id))

    def _stored(self, baseline: Baseline) -> None:
        self._baseline = baseline
        self._signed_in = False
        next_cookie.written(self)

    def _seal(
        self, session_key: str, expected: Baseline | None, payload: bytes
    ) -> tuple[SessionRecord, Baseline]:
        """Seal the session, serialized as it is now, to follow what is expected to be stored."""
        __traceback_hide__ = True
        self._check_size(expected, payload)
        self._check_links(expected)
        session = self._session_cache
        anew = expected is None or self._starts_anew(expected)
        seal = Sealing(services()).seal(payload)
        created_at = seal.now if anew or expected is None else expected.created_at
        record = seal.record(
            session_key,
            revision=(expected.revision if expected else 0) + 1,
            created_at=created_at,
            ttl=self._ttl(seal.now, created_at),
            user_id=session.get(USER_ID),
            item_id=expected.id if expected and expected.session_key == session_key else None,
            ancestors=succeeding(expected.salt, expected.ancestors) if expected else b"",
        )
        return record, Baseline.of(record, session_key, payload, session)

    def _check_size(self, expected: Baseline | None, payload: bytes) -> None:
        """Refuse more than may be kept for nobody. Raises AnonymousSessionTooLarge."""
        __traceback_hide__ = True
        if self._session_cache.get(USER_ID) is not None:
            return
        was_anonymous = expected is not None and expected.user_id is None
        anonymous.check_size(
            len(payload),
            services().config.anonymous_max_size,
            stored=len(expected.payload) if expected is not None and was_anonymous else None,
        )

    def _check_links(self, expected: Baseline | None) -> None:
        """Refuse malformed links, unless they were stored before: then they are only ignored."""
        __traceback_hide__ = True
        listed = self._session_cache.get(links.LINKS, [])
        fault = links.fault_in(listed)
        if fault is None:
            return
        if expected is None or self._codec.loads(expected.payload).get(links.LINKS) != listed:
            raise ValueError(fault)


def _meet(lane: Lane[Part], place: Place[Part]) -> None:
    """Learn from what a request has loaded, if it is the newest that is known."""
    part = place.wants
    if part.met:  # Once: what the table tells later is newer, whatever its number.
        return
    part.met = True
    known, found = lane.known, part.baseline
    if known is None or found.revision > known.revision:
        if known is not None:
            _recognize(lane, found)
            _give_up(lane, known, found)
        lane.known = replace(found, replaced=False) if found.replaced else found


def _together(lane: Lane[Part], waiting: Places) -> Places:
    """Return those who can share the next write, and fail those who cannot be written at all."""
    known: Baseline = lane.known
    if waiting and not waiting[0].wants.is_plain:
        first = waiting[0].wants
        if first.baseline.replaced or first.starts_from(known):
            return waiting[:1]
        _fail(waiting[:1], UpdateError)
    plain = [place for place in waiting if place.wants.is_plain]
    others = [place for place in plain if place.wants.user_id != known.user_id]
    _fail(others, UpdateError)
    return [place for place in plain if place not in others] if others else plain


def _recognize(lane: Lane[Part], stands: Standing) -> None:
    """Let those go whose changes are in what stands."""
    for place in lane.waiting():
        if place.wants.is_in(stands):
            place.settle()


def _give_up(lane: Lane[Part], expected: Baseline, stands: Standing) -> None:
    """Fail those of which it can never be told whether they are."""
    for place in lane.waiting():
        if place.wants.is_lost(expected, stands):
            place.settle()


def _succeed(own: Place[Part], taken: Places, known: Baseline, made: Baseline) -> None:
    for place in taken:
        part = place.wants
        if not part.starts_from(known) and not part.baseline.replaced:
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
