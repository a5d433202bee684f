"""A canary: one session of a random value, taken through all that happens to a session.

It goes through the real engine. Should the process be killed, DynamoDB deletes it soon by
its `ttl`. It is opened below the level that logs and announces a refusal, so that its own
tampering is no alarm.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

from sessions_kms.backend import SessionStore
from sessions_kms.doctor.finding import Finding, Level, failing, ok
from sessions_kms.doctor.measurements import Measurements
from sessions_kms.doctor.trouble import trouble
from sessions_kms.exceptions import InvalidRecord, StoreUnavailable, TableUnavailable
from sessions_kms.loading import id_of
from sessions_kms.record import SHORT_ID, SessionRecord
from sessions_kms.sealing import open_record
from sessions_kms.services import services
from sessions_kms.table import Conflict

LIFETIME = 300  # seconds
CONDITIONS = (
    "Use DynamoDB itself, or a compatible engine that keeps condition expressions:"
    " with this one, requests of one session undo each other."
)
REPORT = "Please report this, with the versions of everything: no session is safe."


class Canary:
    """One canary and its life. Nothing of it is told but the first letters of its digest."""

    def __init__(self, measured: Measurements) -> None:
        self._measured = measured
        self._value = secrets.token_hex(16)
        self._key = ""
        self._deleted = False

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
            return trouble(name, exc)

    def _create(self) -> Finding:
        store = SessionStore()
        store["canary"] = self._value
        store.set_expiry(LIFETIME)
        store.create()
        self._key = store.session_key or ""
        return ok("canary create", f"session {self._id[:SHORT_ID]}")

    def _read(self) -> Finding:
        if SessionStore(self._key).get("canary") == self._value:
            return ok("canary read", "the same value")
        return failing(
            "canary read",
            "another value, or no session",
            "If NOT_BEFORE, in the settings or in the table's item"
            f" not-before#{services().config.namespace}, lies in the future, correct it. Else:"
            f" {REPORT}",
        )

    def _ciphertext(self) -> Finding:
        item = services().table.get_item(self._id) or {}
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
            services().table.replace(stale, expected=stale, now=int(services().clock()))
        except Conflict:
            return ok("canary conflict", "a save over another one's is refused")
        return failing("canary conflict", "a save over another one's was taken", CONDITIONS)

    def _merge(self) -> Finding:
        late = self._session()
        late["late"] = 1
        self._save(early=1)
        late.save()
        if {"early", "late"} <= set(self._session().keys()):
            return ok("canary merge", "two requests at once, and the changes of both are kept")
        return failing("canary merge", "of two requests at once one lost its change", CONDITIONS)

    def _tamper(self) -> Finding:
        whole = services().table.get_item(self._id) or {}
        data = whole["encryptedData"]["B"]
        flipped = {"B": bytes([data[0] ^ 1]) + data[1:]}
        services().table.put_item(whole | {"encryptedData": flipped})
        try:
            open_record(services(), self._record(), self._key)
        except InvalidRecord:
            return ok("canary tamper", "one flipped bit, no session")
        finally:
            services().table.put_item(whole)
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
            services().table.replace(revived, expected=stale, now=0)
        except Conflict as exc:
            self._deleted = exc.current is None
        if self._deleted:
            return ok("canary delete", "gone, and a late save does not revive it")
        return failing("canary delete", "it is still there, or a late save revived it", CONDITIONS)

    def _leave_nothing(self) -> None:
        if self._key and not self._deleted:
            with suppress(StoreUnavailable):
                services().table.delete(self._id)

    def _session(self) -> SessionStore:
        """Return the session as a request loads it."""
        session = SessionStore(self._key)
        if session.get("canary") != self._value:  # Its save would be another session.
            raise TableUnavailable
        return session

    def _save(self, **changes: int) -> None:
        session = self._session()
        session.update(changes)
        session.save()

    def _record(self) -> SessionRecord:
        record = services().table.get(self._id)
        if record is None:
            raise TableUnavailable
        return record

    @property
    def _id(self) -> str:
        return id_of(self._key)
