"""`SessionStore`: Django's session contract over the encrypted table.

What a request loaded is its baseline. A save states that the baseline still
stands; if another request saved meanwhile, what this one changed is laid over
that, and the save is tried again.
"""

from collections.abc import Callable, Coroutine, Mapping
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, cast

from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.base import VALID_KEY_CHARS, CreateError, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.utils.crypto import get_random_string

from sessions_kms.concurrency.lazy_module import LazyModule, is_imported
from sessions_kms.concurrency.turn import Turn
from sessions_kms.concurrency.waits import BlockingCall, Wait, run_sync
from sessions_kms.concurrency.waking import is_held_here
from sessions_kms.exceptions import FateUnknown, InvalidRecord, SessionMoved, StoreUnavailable
from sessions_kms.format.kinds import SESSION_KEY, SHORT_ID, session_id
from sessions_kms.format.serializer import codec_of
from sessions_kms.session import fetched
from sessions_kms.session.fetched import Fetched
from sessions_kms.session.lifetime import Lifetime
from sessions_kms.session.mixins.async_methods import AsyncMethods, sync_only
from sessions_kms.session.mixins.expiry import Expiry
from sessions_kms.session.mixins.overrides import Own, Verb, is_own, is_sync_only
from sessions_kms.session.mixins.redaction import Redaction
from sessions_kms.signals import announced, session_created, session_cycled, session_ended
from sessions_kms.telemetry import telemetry

if TYPE_CHECKING:
    from sessions_kms import services
    from sessions_kms.services import Services
    from sessions_kms.session import draft as drafts
    from sessions_kms.session import loading, next_cookie, rebasing, repository
    from sessions_kms.session.draft import Draft
    from sessions_kms.session.loading import Found
    from sessions_kms.session.repository import Repository
    from sessions_kms.session.snapshot import Snapshot
else:  # A project that starts needs the class alone; these come with the first session.
    services = LazyModule("sessions_kms.services")
    drafts = LazyModule("sessions_kms.session.draft")
    loading = LazyModule("sessions_kms.session.loading")
    next_cookie = LazyModule("sessions_kms.session.next_cookie")
    rebasing = LazyModule("sessions_kms.session.rebasing")
    repository = LazyModule("sessions_kms.session.repository")

CREATES_MAX = 3  # keys under which a session of unknown fate is created


class SessionStore(AsyncMethods, Expiry, Redaction):
    """Sessions sealed under AWS KMS and the visitor's cookie, kept in DynamoDB.

    What it does is written once, as coroutines (`_loaded`, `_saving`, …), which the methods of
    Django's contract run in their thread, and their async twins in the event loop. Only
    `_go_on_from` sets the baseline.
    """

    _baseline: "Snapshot | None" = None
    _loaded_last: "Snapshot | None" = None  # by the load that fills the session
    _session_cache: dict[str, Any]

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        self._codec = codec_of(self.serializer)
        self._signed_in = False
        self._caught_up = False
        self._turn = Turn()

    # Django's contract

    def load(self) -> dict[str, Any]:
        """Return what is stored; for a session that is not, or not valid, {} and no key."""
        __traceback_hide__ = True
        sync_only()
        return run_sync(self._loading())

    def exists(self, session_key: str) -> bool:
        """Tell whether a live session has this key."""
        __traceback_hide__ = True
        sync_only()
        return run_sync(self._existing(session_key))

    def create(self) -> None:
        """Store the session under a new key."""
        __traceback_hide__ = True
        sync_only()
        run_sync(self._creating())

    def save(self, must_create: bool = False) -> None:
        """Store the session.

        Raises CreateError if it must be new and is not, UpdateError if it was ended
        meanwhile, SessionTooLarge (of its kind AnonymousSessionTooLarge, which is a 400
        to Django), or StoreUnavailable.
        """
        __traceback_hide__ = True
        sync_only()
        run_sync(self._saving(must_create))

    def cycle_key(self) -> None:
        """Move the session to a new key, in one transaction.

        Raises SessionInterrupted if another request ended it, StoreUnavailable if another
        moved it, or if it cannot be told: then it may have moved, or may yet.
        """
        __traceback_hide__ = True
        sync_only()
        run_sync(self._cycling())

    def delete(self, session_key: str | None = None) -> None:
        """End the session with this key, or this session.

        Raises StoreUnavailable, also where it lives on under a key that nobody told.
        """
        __traceback_hide__ = True
        sync_only()
        run_sync(self._deleting(session_key))

    @classmethod
    def clear_expired(cls) -> None:
        """Do nothing: DynamoDB deletes expired items by their `ttl`."""

    def _get_session(self, no_load: bool = False) -> dict[str, Any]:
        __traceback_hide__ = True
        self.accessed = True
        if not hasattr(self, "_session_cache"):
            key = self.session_key
            needs_none = no_load or key is None or fetched.is_at_hand(key)
            if self._turn.is_taken or not needs_none:
                sync_only()  # Before the turn, which others may have for as long as they load.
            run_sync(self._filling(no_load))
        return self._session_cache

    _session = property(_get_session)

    def _validate_session_key(self, key: str | None) -> bool:
        return key is not None and SESSION_KEY.fullmatch(key) is not None

    # Beyond it

    def catch_up(self, other: "SessionStore") -> None:
        """Go on from what another object of this session has just loaded or stored.

        What this one changed so far is laid over it and saved as usual. The response
        renews the cookie, whose age may have moved. Raises UpdateError when it is no
        longer the same person's session.
        """
        __traceback_hide__ = True
        mine, theirs = self._baseline, other._baseline
        if mine is None or theirs is None or mine.session_key != theirs.session_key:
            return
        if theirs.revision > mine.revision and not mine.replaced:
            session = self._session_cache
            rebasing.catch_up(self._codec, session, session.get(USER_ID), mine, theirs)
            self._go_on_from(theirs)
        self._caught_up = self.modified = True

    async def afetched(self) -> Fetched:
        """Read what is stored now, for the first load to come (`sessions_kms.ahead`)."""
        __traceback_hide__ = True
        found = Fetched(self._key)
        await found.read(self._first_read())
        return found

    def created(self) -> int | None:
        """Return when the absolute timeout began (epoch seconds), None for a session not saved."""
        if (base := self._known_of(self.session_key)) is None:
            return None
        user_id = self._session_cache.get(USER_ID) if hasattr(self, "_session_cache") else None
        begins_anew = base.is_followed_by_sign_in(user_id, told=self._signed_in)
        return None if begins_anew else base.created_at

    # The coroutines

    async def _filling(self, no_load: bool = False) -> dict[str, Any]:
        """Have the content: concurrent threads and tasks of one request share one load."""
        __traceback_hide__ = True
        self.accessed = True
        if hasattr(self, "_session_cache"):
            return self._session_cache
        if not self._turn.take_at_once():
            await self._turn.take()
        try:
            if not hasattr(self, "_session_cache"):
                content = await self._first_content(no_load)
                if not hasattr(self, "_session_cache"):  # Else cleared meanwhile.
                    self._session_cache = content
        finally:
            self._turn.give_back()
        return self._session_cache

    async def _first_content(self, no_load: bool) -> dict[str, Any]:
        __traceback_hide__ = True
        key = self.session_key
        if no_load or key is None:
            return {}
        if is_own(type(self), SessionStore, "load"):
            content: dict[str, Any] = await Own(self, "load", ())
            self._go_on_from(self._loaded_last)
            return content
        found = await self._loaded(fetched.of(key))
        self._go_on_from(found and found[0])
        return {} if found is None else found[1]

    async def _loading(self) -> dict[str, Any]:
        __traceback_hide__ = True
        found = await self._loaded()
        if is_held_here(self._turn):
            self._loaded_last = found and found[0]
        return {} if found is None else found[1]

    async def _loaded(self, ahead: Fetched | None = None) -> "Found | None":
        """Load; a session that is not, or not valid, has no key."""
        __traceback_hide__ = True
        found, key = None, self.session_key
        if key:
            found = ahead.taken() if ahead else await self._repository().load(key)
            self._follow(key, found)
        if found is None and self.session_key == key:
            self._session_key = None
        return found

    async def _read(self, key: str) -> "Found | None":
        """Read what a key opens; the session keeps its key where that is nothing."""
        __traceback_hide__ = True
        found = await self._repository().load(key)
        self._follow(key, found)
        return found

    def _follow(self, asked: str, found: "Found | None") -> None:
        """Have the key that was found. Another task may have left ours by now, to begin anew."""
        __traceback_hide__ = True
        if found is not None and found[0].session_key != asked == self.session_key:
            self._session_key = found[0].session_key
            next_cookie.settled(self)

    async def _first_read(self) -> "Found | None":
        __traceback_hide__ = True
        if (wait := self._preparation()) is not None:
            await wait
        return await self._repository().load(self._key)

    async def _existing(self, session_key: str) -> bool:
        __traceback_hide__ = True
        if not self._validate_session_key(session_key):
            return False
        return await self._repository().exists(session_key)

    async def _creating(self) -> None:
        __traceback_hide__ = True
        before = self.session_key
        try:
            await self._created_under_some_key()
        except BaseException:
            self._session_key = before  # The cookie of a session that was not stored is no use.
            raise
        self.modified = True

    async def _created_under_some_key(self) -> None:
        """Try one key after another: one that may yet be stored is never used again."""
        __traceback_hide__ = True
        for _ in range(CREATES_MAX):
            self._session_key = _new_session_key()
            try:
                await self._as_is_its_own("save", self._saving, True)
            except (CreateError, FateUnknown):
                continue
            return
        raise StoreUnavailable

    async def _as_is_its_own(
        self, verb: Verb, method: Callable[..., Coroutine[Any, Any, Any]], *args: Any
    ) -> Any:
        """Do this, or what a project does in its place."""
        __traceback_hide__ = True
        if is_own(type(self), SessionStore, verb):
            return await Own(self, verb, args)
        return await method(*args)

    async def _saving(self, must_create: bool = False) -> None:
        __traceback_hide__ = True
        if self.session_key is not None:
            self.accessed = True
            if not hasattr(self, "_session_cache"):
                await self._filling(no_load=must_create)
        key = self.session_key  # From here on: another thread may leave it, or begin anew.
        if not key:  # Nor was anything there to load.
            await self._as_is_its_own("create", self._creating)
        elif must_create:
            await self._putting(key)
        else:
            await self._updating(key)

    async def _putting(self, key: str) -> None:
        __traceback_hide__ = True
        draft = self._draft(key)
        made = await self._repository().create(draft)
        self._stored(draft, made)
        await announced(session_created, made.id, user_id=made.user_id)

    async def _updating(self, key: str) -> None:
        """Store what has changed, if anything has."""
        __traceback_hide__ = True
        draft, base = self._draft(key), self._known_of(key)
        if base is None or not draft.is_as_stored(base, self._services.clock()):
            await self._told("save", self._replacing(draft, base))
        elif self._caught_up:  # Nothing is to be written, but a dead cookie is not to be renewed.
            await self._repository().must_be_there(key)

    async def _replacing(self, draft: "Draft", base: "Snapshot | None") -> None:
        __traceback_hide__ = True
        if base is None:
            base = await self._expected()
        if draft.session_key != base.session_key:  # The key that was looked up just now.
            draft = replace(draft, session_key=base.session_key)
        made = await self._repository().save(draft, base)
        self._stored(draft, made)

    async def _cycling(self) -> None:
        __traceback_hide__ = True
        await self._filling()
        if (key := self.session_key) is None:
            await self._as_is_its_own("create", self._creating)
            return
        previous, new_key = self._id(key), _new_session_key()  # one for all tries
        try:
            await self._told("cycle", self._moving(new_key))
        except SessionMoved:
            next_cookie.not_changed()
            raise
        except UpdateError:
            next_cookie.not_changed()
            raise SessionInterrupted("The session ended before its key was changed.") from None
        self.modified = True
        user_id = self._baseline.user_id if self._baseline else None
        told = {"previous": previous[:SHORT_ID], "user_id": user_id}
        await announced(session_cycled, self._id(new_key), **told)

    async def _moving(self, new_key: str) -> None:
        __traceback_hide__ = True
        base = await self._expected()
        draft = self._draft(base.session_key)
        made = await self._repository().move(draft, base, new_key)
        self._session_key = made.session_key
        next_cookie.changed(self)
        self._stored(draft, made)

    async def _deleting(self, session_key: str | None = None) -> None:
        __traceback_hide__ = True
        key = await self._own_key() if session_key is None else session_key
        if key is not None and self._validate_session_key(key):
            await self._repository().end(key, self._known_of(key))
            ended = session_id(self._services.config.namespace, key)
            await announced(session_ended, ended)

    async def _own_key(self) -> str | None:
        """Return the key of this session; one that was not loaded may have another by now."""
        __traceback_hide__ = True
        key = self.session_key
        if key is None or self._known_of(key) or not self._validate_session_key(key):
            return key
        if next_cookie.follows(key, self._services.config.namespace):
            await self._read(key)
        return self.session_key

    async def _expected(self) -> "Snapshot":
        """Return the baseline of this key; one that is only looked up now is never merged."""
        __traceback_hide__ = True
        key = self.session_key
        if (base := self._known_of(key)) is None:
            found = await self._read(key) if key else None
            if found is None:
                raise UpdateError
            base = replace(found[0], replaced=True)
            self._go_on_from(base)
        return base

    async def _told(self, operation: str, write: Coroutine[Any, Any, None]) -> None:
        """Write, and tell how it went."""
        __traceback_hide__ = True
        try:
            with telemetry.spanned("operation", operation):
                await write
        except InvalidRecord as exc:
            reason = exc.reason
        else:
            return
        # Outside the handler: frames of the record's error hold keys.
        await loading.refused(self._id(self._key), reason)
        raise UpdateError

    # What they use

    def _is_sync_only(self, verb: Verb) -> bool:
        """Tell whether a project has a sync method of its own, and no async twin of that."""
        return is_sync_only(type(self), SessionStore, verb)

    def _preparation(self) -> Wait | None:
        """Return the making of what sessions need, which imports, and may ask the network."""
        return None if _is_prepared() else BlockingCall(_prepare)

    @property
    def _services(self) -> "Services":
        return services.services()

    def _repository(self) -> "Repository":
        return repository.Repository.of(self._services, self._codec)

    def _draft(self, key: str) -> "Draft":
        """Return the session as it is now: other threads of the request may go on changing it."""
        __traceback_hide__ = True
        content = dict(self._session_cache)

        def cookie_age(of: Mapping[str, Any]) -> float:
            __traceback_hide__ = True
            session = self if of is content else self._holding(of)
            return session.get_session_cookie_age()

        lifetime = Lifetime(cookie_age, self._services.config.absolute_timeout)
        payload = self._codec.dumps(content)
        return drafts.Draft(key, content, payload, self._signed_in, lifetime)

    def _holding(self, content: Mapping[str, Any]) -> Self:
        """Return this session as it is with what others changed: a project's hook may ask it."""
        __traceback_hide__ = True
        session = copy(self)
        session._session_cache = dict(content)
        return session

    def _stored(self, draft: "Draft", made: "Snapshot") -> None:
        """Go on from what was stored, which others may have had a part in."""
        __traceback_hide__ = True
        if made.payload != draft.payload:
            content = self._codec.loads(made.payload)
            rebasing.go_on_with(self._codec, self._session_cache, draft.payload, content)
        self._go_on_from(made)
        self._signed_in = False
        next_cookie.written(self)

    def _go_on_from(self, snapshot: "Snapshot | None") -> None:
        self._baseline = snapshot

    def _known_of(self, session_key: str | None) -> "Snapshot | None":
        """Return the baseline, if it is of this key."""
        __traceback_hide__ = True
        base = self._baseline
        return None if base is None or base.session_key != session_key else base

    @property
    def _key(self) -> str:
        """The session key, where there must be one."""
        return cast("str", self.session_key)

    def _id(self, key: str) -> str:
        __traceback_hide__ = True
        return session_id(self._services.config.namespace, key)


def _is_prepared() -> bool:
    return is_imported(repository) and is_imported(services) and services.are_made()


def _prepare() -> None:
    """Import what is imported with the first session, all of it by these two; make the services."""
    services.services()
    repository.Repository  # noqa: B018 - an import


def _new_session_key() -> str:
    return get_random_string(32, VALID_KEY_CHARS)


def _restart_absolute_timeout(*, request: Any, **_: Any) -> None:
    session = getattr(request, "session", None)
    if isinstance(session, SessionStore):
        session._signed_in = True
        session.modified = True


user_logged_in.connect(_restart_absolute_timeout, dispatch_uid="sessions_kms.backend")
