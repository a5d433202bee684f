"""A session moved to a new key, in one transaction, tried until its time is over."""

from dataclasses import replace

from sessions_kms.concurrency.lanes import BUSY
from sessions_kms.exceptions import FateUnknown, StoreUnavailable
from sessions_kms.format.kinds import session_id
from sessions_kms.format.record import SessionRecord
from sessions_kms.format.serializer import Codec
from sessions_kms.sealed_items import about
from sessions_kms.sealed_items.about import About
from sessions_kms.services import Services
from sessions_kms.session import links, next_cookie
from sessions_kms.session.draft import Draft, sealed
from sessions_kms.session.fate import CANNOT_BE_TOLD, Fate, Tries
from sessions_kms.session.loading import Loading
from sessions_kms.session.rebasing import rebased
from sessions_kms.session.snapshot import Snapshot
from sessions_kms.storage.session_items import Conflict, Stored
from sessions_kms.telemetry import telemetry


class Moving:
    """One change of a key.

    ``draft`` goes under the new one, ``base`` is what is expected under the old one, and ends.
    """

    def __init__(
        self, services: Services, codec: Codec, loading: Loading, draft: Draft, base: Snapshot
    ) -> None:
        self._services = services
        self._codec = codec
        self._loading = loading
        self._draft = draft
        self._base = base
        self._old_key, self._old_id = base.session_key, base.id
        self._new_id = session_id(services.config.namespace, draft.session_key)
        self._tries = Tries()

    async def moved(self) -> Snapshot:
        """Try until what a try expects stands; return the snapshot of the one that was applied.

        Raises UpdateError where the session has ended, SessionMoved or StoreUnavailable where
        that cannot be told, or where time is over.
        """
        __traceback_hide__ = True
        patience = self._services.lanes.patience()
        while True:
            expected = self._base
            if (made := await self._tried()) is not None:
                await links.drop(self._services, self._old_id, self._base.links)
                return made
            if patience.is_over:
                raise StoreUnavailable(BUSY)
            if self._base is expected:  # One may arrive yet.
                await self._services.wait(patience.pause())

    async def _tried(self) -> Snapshot | None:
        """Try once; return what was applied by now, or have the next try expect what stands."""
        __traceback_hide__ = True
        try:
            await self._sent()
        except Conflict as exc:
            current = exc.current
            telemetry.count("conflicts")
        except FateUnknown:
            self._tries.pending = True
            current = await self._loading.standing(self._old_id)
        else:
            return self._tries.made[-1]
        if (applied := await self._applied(current)) is None:
            await self._go_on_from(current)
        return applied

    async def _sent(self) -> None:
        __traceback_hide__ = True
        services, base = self._services, self._base
        record, made = await sealed(services, self._codec, self._draft, base)
        self._tries.made.append(made)
        await links.write(services, record, made.links)
        # Whatever fails from now on.
        next_cookie.may_change(self._old_key, made.session_key, services.config.namespace)
        words = about.told(made)
        await services.session_items.move(
            record,
            old_id=self._old_id,
            expected=base,
            now=record.updated_at,
            put=await About(services).sealed(record, words) if words else None,
            delete=about.id_of(services, self._old_id) if base.about else None,
        )

    async def _applied(self, current: Stored) -> Snapshot | None:
        """Return the try that was applied, by what stands under the old id, then the new one."""
        __traceback_hide__ = True
        if not isinstance(current, SessionRecord):
            current = await self._loading.standing(self._new_id)
        return self._tries.applied(current) if isinstance(current, SessionRecord) else None

    async def _go_on_from(self, current: Stored) -> None:
        """Have the next try expect what stands, where that shows none to be applied."""
        __traceback_hide__ = True
        stands = await self._loading.live(current)
        fate = self._tries.fate(self._base, stands)
        if fate is Fate.UNKNOWN:
            raise StoreUnavailable(CANNOT_BE_TOLD)
        if fate is Fate.UNDECIDED:
            return
        self._tries.overtaken()
        theirs, content = await self._loading.surely_opened(stands, self._old_key)
        if self._base.replaced:
            self._base = replace(theirs, replaced=True)
        else:
            self._draft = rebased(self._codec, self._draft, self._base, theirs, content)
            self._base = theirs
            telemetry.count("merges")
