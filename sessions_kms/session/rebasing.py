"""What a request does when another one of the same session has saved meanwhile.

The baseline says what this request started from. Its changes since are laid over what
stands now, which becomes the new baseline.
"""

from dataclasses import replace
from typing import Any

from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.sessions.backends.base import UpdateError

from sessions_kms.exceptions import SessionMoved, StoreUnavailable
from sessions_kms.format.record import SessionRecord
from sessions_kms.format.tombstone import Tombstone
from sessions_kms.services import services
from sessions_kms.session import links
from sessions_kms.session.fate import CANNOT_BE_TOLD, Fate, Tries
from sessions_kms.session.loading import Found, LoadingStore
from sessions_kms.session.merge import changed_keys, merge
from sessions_kms.session.snapshot import Baseline
from sessions_kms.storage.doubts import once_more
from sessions_kms.telemetry import telemetry


class RebasingStore(LoadingStore):
    """A session that can go on from what another request stored."""

    def catch_up(self, other: "RebasingStore") -> None:
        """Go on from what another object of this session has just loaded or stored.

        What this one changed so far is laid over it and saved as usual. The response
        renews the cookie, whose age may have moved. Raises UpdateError when it is no
        longer the same person's session.
        """
        mine, theirs = self._baseline, other._baseline
        if mine is None or theirs is None or mine.session_key != theirs.session_key:
            return
        if theirs.revision > mine.revision and not mine.replaced:
            self._lay_over(mine, theirs, self._codec.loads(theirs.payload))
            self._baseline = theirs
        self._caught_up = self.modified = True

    def _expected(self) -> Baseline:
        """Return the baseline of this key; one that is only looked up now is never merged."""
        if self._baseline is None or self._baseline.session_key != self.session_key:
            found = self._read()
            if found is None:
                raise UpdateError
            self._baseline = replace(found[0], replaced=True)
        return self._baseline

    def _next_base(
        self, baseline: Baseline, current: SessionRecord | Tombstone | None, tries: Tries
    ) -> Baseline:
        """Return what the next try is to expect, where what stands shows none to be applied.

        Raises UpdateError where the session has ended, StoreUnavailable where that cannot be
        told.
        """
        __traceback_hide__ = True
        stands = live(current)
        fate = tries.fate(baseline, stands)
        if fate is Fate.UNKNOWN:
            raise StoreUnavailable(CANNOT_BE_TOLD)
        if fate is Fate.UNDECIDED:
            return baseline
        tries.overtaken()
        return self._rebase(baseline, stands)

    def _rebase(self, baseline: Baseline, current: SessionRecord) -> Baseline:
        """Lay this request's changes over what stands now, and make that the baseline."""
        __traceback_hide__ = True
        theirs, content = self._open_surely(current)
        if baseline.replaced:
            self._baseline = replace(theirs, replaced=True)
        else:
            self._lay_over(baseline, theirs, content)
            self._baseline = theirs
            telemetry.count("merges")
        return self._baseline

    def _open_surely(self, record: SessionRecord) -> Found:
        """Open a record that came with an answer; what is not valid is read once more."""
        __traceback_hide__ = True
        records = iter([record])
        return once_more(lambda: self._open(next(records, None) or self._read_record(), self._key))

    def _read_record(self) -> SessionRecord:
        __traceback_hide__ = True
        return live(services().session_items.find(self._id()))

    def _lay_over(self, baseline: Baseline, theirs: Baseline, content: dict[str, Any]) -> None:
        """Lay the changes since a baseline over other content. Raises UpdateError."""
        __traceback_hide__ = True
        if not baseline.user_id == theirs.user_id == self._session_cache.get(USER_ID):
            raise UpdateError
        base = self._codec.loads(baseline.payload)
        self._go_on_with(baseline.payload, content | links.merged(base, base, content))

    def _go_on_with(self, since: bytes, content: dict[str, Any]) -> None:
        """Have the session hold other content, with what was changed in it since laid over that.

        Where both say the same, what was there stays: somebody may hold it, and change it yet.
        """
        __traceback_hide__ = True
        session, dumps = self._session_cache, self._codec.dumps
        now = dumps(session)
        ours, merged = self._codec.loads(now), content
        if now != since:
            before = self._codec.loads(since)
            merged = merge(before, ours, content, dumps) | links.merged(before, ours, content)
        changed = changed_keys(ours, merged, dumps)
        for key in [key for key in session if key not in merged]:
            session.pop(key, None)
        # The dict is never empty meanwhile: others may be reading it.
        session.update({key: merged[key] for key in merged if key in changed or key not in session})


def live(current: SessionRecord | Tombstone | None) -> SessionRecord:
    """Return what stands where it is a session. Raises UpdateError, SessionMoved."""
    if isinstance(current, Tombstone):
        raise SessionMoved
    if current is None or not services().is_live(current):
        raise UpdateError
    return current
