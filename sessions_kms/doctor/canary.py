"""A canary: one session with a random value that goes through everything a session can.

It uses the real engine. If the process is killed, DynamoDB soon deletes it by its `ttl`. The
tampered record is decrypted below the level that logs and signals a rejected record, so it raises
no alarm.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

from django.contrib.auth import SESSION_KEY as USER_ID

from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.concurrency.write_queue import BUSY
from sessions_kms.doctor.finding import Finding, Level, failing, ok, warning
from sessions_kms.doctor.kms import Measurements
from sessions_kms.doctor.trouble import NOT_BEFORE, trouble
from sessions_kms.exceptions import (
    FateUnknown,
    InvalidRecord,
    StoreUnavailable,
    TableUnavailable,
)
from sessions_kms.format.item_types import SHORT_ID, answer_id, link_id, not_before_id, owner_of
from sessions_kms.format.record import SessionRecord
from sessions_kms.sealed_items import about
from sessions_kms.sealed_items.leases import Leases
from sessions_kms.sealed_items.sealing import Sealing
from sessions_kms.sealed_items.tokens import Exchange, NewToken, SealedToken, Tokens, new_stamp
from sessions_kms.services import id_of, services
from sessions_kms.session import links
from sessions_kms.storage.session_items import Conflict

LIFETIME = 300  # seconds
LOOKS = 5  # at the index, which lags behind
PAUSE = 0.2  # seconds between them
CONDITIONS = (
    "Use DynamoDB itself, or a compatible engine that supports condition expressions:"
    " with this one, requests of one session overwrite each other."
)
TRANSACTIONS = (
    "Use DynamoDB itself, or a compatible engine that supports transactions: with this one a key"
    " change at a sign-in loses the session, or leaves the old key valid."
)
REPORT = "Please report this with all versions: no session is safe."

NEEDS = {"canary index": "dynamodb:Query"}  # sessions work without it


class Canary:
    """One canary. Findings contain only the first letters of its digest."""

    def __init__(self, measured: Measurements) -> None:
        self._measured = measured
        self._value = secrets.token_hex(16)
        self._user = f"canary-{secrets.token_hex(8)}"
        self._link = secrets.token_hex(32)
        self._key = self._old_id = ""
        self._words = {"canary": self._value}
        self._deleted = False
        self._left: list[str] = []  # ids of other items to delete

    def findings(self) -> Iterator[Finding]:
        """Run all steps, and delete everything even if this is interrupted."""
        try:
            yield from self._steps()
        finally:
            self._clean_up()

    def _steps(self) -> Iterator[Finding]:
        steps: dict[str, Callable[[], Finding]] = {
            "canary create": self._create,
            "canary ciphertext": self._check_ciphertext,
            "canary read": self._read,
            "canary conflict": self._check_conflict,
            "canary merge": self._check_merge,
            "canary cycle": self._cycle_key,
            "canary about": self._check_about,
            "canary index": self._check_index,
            "canary link": self._check_link,
            "canary lease": self._check_lease,
            "canary token": self._check_token,
            "canary tamper": self._tamper,
            "canary expiry": self._check_expiry,
        }
        for name, step in steps.items():
            finding = self._run(name, step)
            yield finding
            if finding.level is Level.FAILING:  # The following steps need what this one left.
                break
        if self._key:
            yield self._run("canary delete", self._delete)

    def _run(self, name: str, step: Callable[[], Finding]) -> Finding:
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
            f"If {NOT_BEFORE}, in the settings or in the table's item"
            f" {not_before_id(services().config.namespace)}, is in the future, correct it."
            f" Otherwise: {REPORT}",
        )

    def _check_ciphertext(self) -> Finding:
        item = run_sync(services().table.get(self._id)) or {}
        stored = repr(item).encode() + b"".join(part.get("B", b"") for part in item.values())
        if self._value.encode() in stored or self._key.encode() in stored:
            return failing(
                "canary ciphertext", "the raw item contains its value or its session key", REPORT
            )
        return ok(
            "canary ciphertext", "the raw item contains neither its value nor its session key"
        )

    def _check_conflict(self) -> Finding:
        stale = self._record()
        self._save(conflict=1)
        try:
            run_sync(
                services().session_items.replace(stale, expected=stale, now=int(services().clock()))
            )
        except Conflict:
            return ok("canary conflict", "a conflicting save is rejected")
        except FateUnknown:  # as if another item was replaced than the condition names
            if self._record() != stale:
                raise
        return failing("canary conflict", "a conflicting save was accepted", CONDITIONS)

    def _check_merge(self) -> Finding:
        late = self._session()
        late["late"] = 1
        self._save(early=1)
        late.save()
        if {"early", "late"} <= set(self._session().keys()):
            return ok("canary merge", "the changes of two concurrent requests are both saved")
        return failing("canary merge", "one of two concurrent requests lost its change", CONDITIONS)

    def _cycle_key(self) -> Finding:
        session, old = self._session(), self._key
        self._left.append(self._id)
        self._old_id = self._id
        try:
            session.cycle_key()
        except StoreUnavailable as exc:
            if str(exc) != BUSY:
                raise
            # Nobody else writes to this session: the transaction was confirmed, but not made.
            return failing("canary cycle", "confirmed, but the session did not move", TRANSACTIONS)
        self._key = session.session_key or ""
        self._left.append(about.id_of(services(), self._id))
        moved = SessionStore(self._key).get("canary") == self._value
        if moved and self._key != old and not SessionStore().exists(old):
            return ok("canary cycle", "moved to a new key, and the old one is invalid")
        what = "the old key is still valid, or the new one is not"
        return failing("canary cycle", what, TRANSACTIONS)

    def _check_about(self) -> Finding:
        here, there = (
            run_sync(about.SessionMetadata(services()).read(each))
            for each in (self._id, self._old_id)
        )
        if here == self._words and not there:
            return ok("canary about", "metadata: moved with the new session key")
        return warning(
            "canary about",
            "metadata: missing, or still under the old session key",
            f"{TRANSACTIONS} Lists of sessions show only times.",
        )

    def _check_index(self) -> Finding:
        owner = owner_of(services().config.namespace, self._user) or ""
        for _ in range(LOOKS):
            if self._id in run_sync(services().queries.owned_ids(owner)):
                return ok("canary index", "found by its owner")
            services().sleep(PAUSE)
        return warning(
            "canary index",
            "not found by its owner within a second",
            "Run this again. If the finding remains, a user's sessions cannot be listed or ended"
            " while the index is so far behind: see the finding 'table index' and AWS Health.",
        )

    def _check_link(self) -> Finding:
        item_id = link_id(services().config.namespace, self._link, self._id)
        self._left.append(item_id)
        self._save(**{links.LINKS: [self._link]})
        written = run_sync(services().table.get(item_id)) is not None
        self._save(**{links.LINKS: []})
        if written and run_sync(services().table.get(item_id)) is None:
            return ok("canary link", "written with the session, and deleted")
        return failing("canary link", "its link is missing, or was not deleted", CONDITIONS)

    def _check_lease(self) -> Finding:
        leases, secret = Leases(services()), secrets.token_hex(32)
        self._left.append(leases.id_of(secret))
        taken = run_sync(leases.claim(secret, "one", seconds=LIFETIME))
        refused = run_sync(leases.claim(secret, "another", seconds=LIFETIME))
        renewed = run_sync(leases.renew(secret, "one", seconds=LIFETIME))
        done = run_sync(leases.complete(secret, "one", self._value.encode(), keep=LIFETIME))
        found = run_sync(leases.claim(secret, "another", seconds=LIFETIME)).result
        held_by_one = taken.held and not refused.held and renewed and done is not None
        if held_by_one and found == self._value.encode():
            return ok("canary lease", "one holder, and another found its result")
        return failing("canary lease", "two holders, or the result is lost", CONDITIONS)

    def _check_token(self) -> Finding:
        tokens, ends = Tokens(services()), int(services().clock()) + LIFETIME
        first, second = (f"gwr_{secrets.token_hex(16)}" for _ in range(2))
        self._left += [tokens.id_of(first), answer_id(tokens.id_of(first)), tokens.id_of(second)]
        run_sync(tokens.begin(NewToken(first, self._value.encode(), ends)))
        found = run_sync(tokens.find(first))
        if not isinstance(found, SealedToken):
            return failing("canary token", "not found", REPORT)
        spending = Exchange(
            expected=found.stamp,
            stamp=new_stamp(),
            spent=NewToken(first, b"", ends),
            answer=NewToken(first, self._value.encode(), ends),
            successors=[NewToken(second, self._value.encode(), ends)],
        )
        for each in (spending, replace(spending, stamp=new_stamp(), successors=[])):
            with suppress(FateUnknown):  # Checked below.
                run_sync(tokens.exchange(each))
        stored = run_sync(tokens.find(first))
        is_first = isinstance(stored, SealedToken) and stored.stamp == spending.stamp
        if is_first and run_sync(tokens.answer(first)) == self._value.encode():
            return ok("canary token", "redeemed once, and its answer found again")
        return failing("canary token", "redeemed twice, or without its successor", TRANSACTIONS)

    def _tamper(self) -> Finding:
        whole = run_sync(services().table.get(self._id)) or {}
        data = whole["encryptedData"]["B"]
        flipped = {"B": bytes([data[0] ^ 1]) + data[1:]}
        run_sync(services().table.put(whole | {"encryptedData": flipped}))
        try:
            run_sync(Sealing(services()).open(self._record(), self._key))
        except InvalidRecord:
            return ok("canary tamper", "rejected after one flipped bit")
        finally:
            run_sync(services().table.put(whole))
        return failing("canary tamper", "accepted after one flipped bit", REPORT)

    def _check_expiry(self) -> Finding:
        session = self._session()
        session.set_expiry(-1)
        session.save()
        if SessionStore().exists(self._key):
            return failing("canary expiry", "still valid after its expiry", REPORT)
        return ok("canary expiry", "invalid after its expiry")

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
            return ok("canary delete", "deleted, and a late save does not restore it")
        return failing("canary delete", "still there, or restored by a late save", CONDITIONS)

    def _clean_up(self) -> None:
        left = [self._id] if self._key and not self._deleted else []
        for item_id in [*self._left, *left]:
            with suppress(StoreUnavailable):
                run_sync(services().table.delete(item_id))

    def _session(self) -> SessionStore:
        """Return the session as a request loads it."""
        session = SessionStore(self._key)
        if session.get("canary") != self._value:  # Saving it would create another session.
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
