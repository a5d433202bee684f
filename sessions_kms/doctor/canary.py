"""A canary: one session of a random value, taken through all that happens to a session.

It goes through the real engine. Should the process be killed, DynamoDB deletes it soon by
its `ttl`. It is opened below the level that logs and announces a refusal, so that its own
tampering is no alarm.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

from django.contrib.auth import SESSION_KEY as USER_ID

from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.doctor import named
from sessions_kms.doctor.finding import Finding, Level, failing, ok, warning
from sessions_kms.doctor.measurements import Measurements
from sessions_kms.doctor.trouble import trouble
from sessions_kms.exceptions import (
    FateUnknown,
    InvalidRecord,
    StoreUnavailable,
    TableUnavailable,
)
from sessions_kms.format.kinds import SHORT_ID, answer_id, link_id, not_before_id, owner_of
from sessions_kms.format.record import SessionRecord
from sessions_kms.sealed_items import about
from sessions_kms.sealed_items.leases import Leases
from sessions_kms.sealed_items.sealing import Sealing
from sessions_kms.sealed_items.tokens import Exchange, NewToken, SealedToken, Tokens, new_stamp
from sessions_kms.services import id_of, services
from sessions_kms.session import links
from sessions_kms.storage.session_items import Conflict

LIFETIME = 300  # seconds
LOOKS = 5  # at an index, which lags behind
PAUSE = 0.2  # seconds between them
CONDITIONS = (
    "Use DynamoDB itself, or a compatible engine that keeps condition expressions:"
    " with this one, requests of one session undo each other."
)
TRANSACTIONS = (
    "Use DynamoDB itself, or a compatible engine that keeps transactions: with this one a key"
    " change at a sign-in loses the session, or lets the old key still work."
)
REPORT = "Please report this, with the versions of everything: no session is safe."

NEEDS = {"canary index": "dynamodb:Query"}  # without which sessions are kept all the same


class Canary:
    """One canary and its life. Nothing of it is told but the first letters of its digest."""

    def __init__(self, measured: Measurements) -> None:
        self._measured = measured
        self._value = secrets.token_hex(16)
        self._user = f"canary-{secrets.token_hex(8)}"
        self._link = secrets.token_hex(32)
        self._key = self._old_id = ""
        self._words = {"canary": self._value}
        self._deleted = False
        self._left: list[str] = []  # ids of what is to be deleted besides

    def findings(self) -> Iterator[Finding]:
        """Live, and leave nothing, wherever this is left."""
        try:
            yield from self._life()
        finally:
            self._leave_nothing()

    def _life(self) -> Iterator[Finding]:
        steps: dict[str, Callable[[], Finding]] = {
            "canary create": self._create,
            "canary ciphertext": self._ciphertext,
            "canary read": self._read,
            "canary conflict": self._conflict,
            "canary merge": self._merge,
            "canary cycle": self._cycle,
            "canary about": self._about,
            "canary index": self._index,
            "canary link": self._linked,
            "canary lease": self._leased,
            "canary token": self._spent,
            "canary tamper": self._tamper,
            "canary expiry": self._expire,
        }
        for name, step in steps.items():
            finding = self._taken(name, step)
            yield finding
            if finding.level is Level.FAILING:  # The following steps need what this one left.
                break
        if self._key:
            yield self._taken("canary delete", self._delete)

    def _taken(self, name: str, step: Callable[[], Finding]) -> Finding:
        try:
            config = services().config
            with self._measured.kms_calls_counted(config), self._measured.timed(name):
                return step()
        except Exception as exc:  # noqa: BLE001 - a step that breaks is a finding
            return trouble(name, exc, needs=NEEDS.get(name))

    def _create(self) -> Finding:
        store = SessionStore()
        store["canary"] = self._value
        store[USER_ID] = self._user
        store[about.ABOUT] = self._words
        store.set_expiry(LIFETIME)
        store.create()
        self._key = store.session_key or ""
        self._left.append(about.id_of(services(), self._id))
        return ok("canary create", f"session {self._id[:SHORT_ID]}")

    def _read(self) -> Finding:
        is_there = SessionStore().exists(self._key)
        if is_there and SessionStore(self._key).get("canary") == self._value:
            return ok("canary read", "the same value")
        return failing(
            "canary read",
            "another value, or no session",
            f"If {named.NOT_BEFORE}, in the settings or in the table's item"
            f" {not_before_id(services().config.namespace)}, lies in the future, correct it. Else:"
            f" {REPORT}",
        )

    def _ciphertext(self) -> Finding:
        item = run_sync(services().table.get(self._id)) or {}
        stored = repr(item).encode() + b"".join(part.get("B", b"") for part in item.values())
        if self._value.encode() in stored or self._key.encode() in stored:
            return failing(
                "canary ciphertext", "its value or its session key is in the raw item", REPORT
            )
        return ok("canary ciphertext", "neither its value nor its session key is in the raw item")

    def _conflict(self) -> Finding:
        stale = self._record()
        self._save(conflict=1)
        try:
            run_sync(
                services().session_items.replace(stale, expected=stale, now=int(services().clock()))
            )
        except Conflict:
            return ok("canary conflict", "a save over another one's is refused")
        except FateUnknown:  # as where another item was replaced than the condition names
            if self._record() != stale:
                raise
        return failing("canary conflict", "a save over another one's was taken", CONDITIONS)

    def _merge(self) -> Finding:
        late = self._session()
        late["late"] = 1
        self._save(early=1)
        late.save()
        if {"early", "late"} <= set(self._session().keys()):
            return ok("canary merge", "two requests at once, and the changes of both are kept")
        return failing("canary merge", "of two requests at once one lost its change", CONDITIONS)

    def _cycle(self) -> Finding:
        session, old = self._session(), self._key
        self._left.append(self._id)
        self._old_id = self._id
        session.cycle_key()
        self._key = session.session_key or ""
        self._left.append(about.id_of(services(), self._id))
        moved = SessionStore(self._key).get("canary") == self._value
        if moved and self._key != old and not SessionStore().exists(old):
            return ok("canary cycle", "under a new key, and the old one is of no use")
        what = "the old key opens it, or the new one does not"
        return failing("canary cycle", what, TRANSACTIONS)

    def _about(self) -> Finding:
        here, there = (
            run_sync(about.About(services()).read(each)) for each in (self._id, self._old_id)
        )
        if here == self._words and not there:
            return ok("canary about", "what it tells of itself has moved with its key")
        return warning(
            "canary about",
            "what it tells of itself is not there, or stayed under the old key",
            f"{TRANSACTIONS} Lists of sessions show times only.",
        )

    def _index(self) -> Finding:
        owner = owner_of(services().config.namespace, self._user) or ""
        if self._seen(lambda: self._id in run_sync(services().table.owned_ids(owner))):
            return ok("canary index", "found by its owner")
        return warning(
            "canary index",
            "not found by its owner within a second",
            "Run this again. If it says so again, a person's sessions cannot be listed or ended"
            " while the index is so far behind: see the findings 'table index' and AWS Health.",
        )

    def _linked(self) -> Finding:
        item_id = link_id(services().config.namespace, self._link, self._id)
        self._left.append(item_id)
        self._save(**{links.LINKS: [self._link]})
        written = run_sync(services().table.get(item_id)) is not None
        self._save(**{links.LINKS: []})
        if written and run_sync(services().table.get(item_id)) is None:
            return ok("canary link", "written with the session, and deleted")
        return failing("canary link", "its link is not there, or stays", CONDITIONS)

    def _leased(self) -> Finding:
        leases, secret = Leases(services()), secrets.token_hex(32)
        self._left.append(leases.id_of(secret))
        taken = run_sync(leases.claim(secret, "one", seconds=LIFETIME))
        refused = run_sync(leases.claim(secret, "another", seconds=LIFETIME))
        renewed = run_sync(leases.renew(secret, "one", seconds=LIFETIME))
        done = run_sync(leases.complete(secret, "one", self._value.encode(), keep=LIFETIME))
        found = run_sync(leases.claim(secret, "another", seconds=LIFETIME)).result
        held_by_one = (taken.held, refused.held, renewed, done) == (True, False, True, True)
        if held_by_one and found == self._value.encode():
            return ok("canary lease", "held by one, and its result found by another")
        return failing("canary lease", "held by two, or its result is lost", CONDITIONS)

    def _spent(self) -> Finding:
        tokens, ends = Tokens(services()), int(services().clock()) + LIFETIME
        first, second = (f"gwr_{secrets.token_hex(16)}" for _ in range(2))
        self._left += [tokens.id_of(first), answer_id(tokens.id_of(first)), tokens.id_of(second)]
        run_sync(tokens.begin(NewToken(first, self._value.encode(), ends)))
        found = run_sync(tokens.find(first))
        if not isinstance(found, SealedToken):
            return failing("canary token", "it opens nothing", REPORT)
        spending = Exchange(
            expected=found.stamp,
            stamp=new_stamp(),
            spent=NewToken(first, b"", ends),
            answer=NewToken(first, self._value.encode(), ends),
            successors=[NewToken(second, self._value.encode(), ends)],
        )
        for each in (spending, replace(spending, stamp=new_stamp(), successors=[])):
            with suppress(FateUnknown):  # What stands tells.
                run_sync(tokens.exchange(each))
        stands = run_sync(tokens.find(first))
        is_first = isinstance(stands, SealedToken) and stands.stamp == spending.stamp
        if is_first and run_sync(tokens.answer(first)) == self._value.encode():
            return ok("canary token", "spent once, and its answer found again")
        return failing("canary token", "spent twice, or not for its successor", TRANSACTIONS)

    @staticmethod
    def _seen(shows: Callable[[], bool]) -> bool:
        for _ in range(LOOKS):
            if shows():
                return True
            services().sleep(PAUSE)
        return False

    def _tamper(self) -> Finding:
        whole = run_sync(services().table.get(self._id)) or {}
        data = whole["encryptedData"]["B"]
        flipped = {"B": bytes([data[0] ^ 1]) + data[1:]}
        run_sync(services().table.put(whole | {"encryptedData": flipped}))
        try:
            run_sync(Sealing(services()).open(self._record(), self._key))
        except InvalidRecord:
            return ok("canary tamper", "one flipped bit, no session")
        finally:
            run_sync(services().table.put(whole))
        return failing("canary tamper", "one flipped bit, and still a session", REPORT)

    def _expire(self) -> Finding:
        session = self._session()
        session.set_expiry(-1)
        session.save()
        if SessionStore().exists(self._key):
            return failing("canary expiry", "its time is over, and it still is a session", REPORT)
        return ok("canary expiry", "its time over, no session")

    def _delete(self) -> Finding:
        stale = self._record()
        SessionStore(self._key).delete()
        now = int(services().clock())
        revived = replace(stale, ttl=now + LIFETIME)
        try:
            run_sync(services().session_items.replace(revived, expected=stale, now=0))
        except Conflict as exc:
            self._deleted = exc.current is None
        except FateUnknown:
            if self._record() != revived:
                raise
        if self._deleted:
            return ok("canary delete", "gone, and a late save does not revive it")
        return failing("canary delete", "it is still there, or a late save revived it", CONDITIONS)

    def _leave_nothing(self) -> None:
        left = [self._id] if self._key and not self._deleted else []
        for item_id in [*self._left, *left]:
            with suppress(StoreUnavailable):
                run_sync(services().table.delete(item_id))

    def _session(self) -> SessionStore:
        """Return the session as a request loads it."""
        session = SessionStore(self._key)
        if session.get("canary") != self._value:  # Its save would be another session.
            raise TableUnavailable
        return session

    def _save(self, **changes: object) -> None:
        session = self._session()
        session.update(changes)
        session.save()

    def _record(self) -> SessionRecord:
        record = run_sync(services().session_items.get(self._id))
        if record is None:
            raise TableUnavailable
        return record

    @property
    def _id(self) -> str:
        return id_of(self._key)
