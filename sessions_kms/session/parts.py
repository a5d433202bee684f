"""One request's part in the writing of its session: what it started from and has made of it.

A write is shared by all whose parts can be laid one over the other. What became of it is
noted here by whoever wrote, and read by the request itself. Knows no table.
"""

from dataclasses import dataclass, field
from typing import Any

from sessions_kms.exceptions import InvalidRecord, StoreUnavailable
from sessions_kms.format.serializer import Codec
from sessions_kms.session import links
from sessions_kms.session.draft import Draft
from sessions_kms.session.fate import CANNOT_BE_TOLD, Fate, Standing, Tries, is_same
from sessions_kms.session.merge import Changes
from sessions_kms.session.snapshot import Snapshot


@dataclass(slots=True, eq=False, repr=False)
class Part:
    """What one request wants stored, and the snapshot that it started from.

    ``written`` is the snapshot to go on from once it is stored, ``error`` why it is not.
    """

    base: Snapshot
    draft: Draft
    tries: Tries = field(default_factory=Tries)
    changes: Changes | None = None
    met: bool = False  # whether what it started from was looked at by whoever leads
    written: Snapshot | None = None
    error: Exception | None = None

    @property
    def is_plain(self) -> bool:
        """Tell whether it can share a write: it leaves the user, and what it never looked at."""
        return not self.base.replaced and self.base.user_id == self.draft.user_id

    def starts_from(self, known: Snapshot) -> bool:
        """Tell whether it is to be stored as it is, if it comes first."""
        return self.base is known or is_same(self.base, known)

    def look(self, codec: Codec) -> Changes:
        """Find what it changes, once.

        Raises TypeError where the serializer does not read what it has written.
        """
        __traceback_hide__ = True
        if self.changes is None:
            try:
                base, ours = codec.loads(self.base.payload), codec.loads(self.draft.payload)
                self.changes = Changes.between(base, ours, codec.dumps)
            except InvalidRecord:
                pass
        if self.changes is None:
            raise TypeError("SESSION_SERIALIZER does not read what it has written.")
        return self.changes

    def laid_over(self, content: dict[str, Any], codec: Codec) -> dict[str, Any]:
        """Lay what it changes over what others have made of the session meanwhile."""
        __traceback_hide__ = True
        changes = self.look(codec)
        return changes.over(content) | links.merged(changes.base, changes.ours, content)

    def outcome(self) -> Snapshot:
        """Return the snapshot to go on from. Raises why there is none."""
        if self.error is not None:
            raise self.error
        if self.written is None:
            raise StoreUnavailable
        return self.written

    def is_in(self, stands: Standing) -> bool:
        """Tell whether what stands shows one of its tries to have been applied."""
        self.written = self.tries.applied(stands)
        return self.written is not None

    def is_lost(self, expected: Snapshot, stands: Standing) -> bool:
        """Tell whether it can never be told; else it is to be tried again."""
        fate = self.tries.fate(expected, stands)
        if fate is Fate.UNKNOWN:
            self.error = StoreUnavailable(CANNOT_BE_TOLD)
        elif fate is Fate.OVERTAKEN:
            self.tries.overtaken()
        return fate is Fate.UNKNOWN
