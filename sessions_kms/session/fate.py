"""What became of a write, told by what is stored now: only what excludes the other outcome.

A write whose answer was lost may have been applied, or not, or may be applied yet. Takes the
tries of one save or key change and the record that stands. Knows no table.
"""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Protocol

from sessions_kms.format.ancestors import ANCESTORS_MAX, descends
from sessions_kms.session.snapshot import Snapshot

CANNOT_BE_TOLD: Final = "It cannot be told whether the session was saved."


class Standing(Protocol):
    """What stands, or stood when it was looked at last: a record, or a snapshot."""

    @property
    def revision(self) -> int: ...
    @property
    def salt(self) -> bytes: ...
    @property
    def ancestors(self) -> bytes: ...


def is_same(one: Standing, other: Standing) -> bool:
    """Tell whether two are one record."""
    return (one.revision, one.salt) == (other.revision, other.salt)


class Fate(Enum):
    """What a record that stands says of the tries to replace another."""

    UNDECIDED = auto()  # what they expect still stands: one may arrive yet
    OVERTAKEN = auto()  # none was applied, and none ever can be: another writer was first
    UNKNOWN = auto()  # what they expected is not even among the ancestors


@dataclass(slots=True)
class Tries:
    """The tries of one save: the snapshot that each of them would have made.

    ``pending`` says that one on what is expected now may have been applied, or may be yet.
    """

    made: list[Snapshot] = field(default_factory=list)
    pending: bool = False

    def begin(self, made: Snapshot) -> bool:
        """Note a try before it is sent: whatever ends its thread meanwhile, its fate is unknown.

        Gives whether one was pending before, for one that is certainly not applied.
        """
        before, self.pending = self.pending, True
        self.made.append(made)
        return before

    def applied(self, current: Standing) -> Snapshot | None:
        """Return the try that a record shows to have been applied: it is that one or its heir."""
        for each in reversed(self.made):
            if each.salt == current.salt or descends(current.ancestors, each.salt):
                return each
        return None

    def overtaken(self) -> None:
        """Note that none can be applied any more.

        The oldest ones are let go: each later one met another record, so that theirs would be
        among no record's ancestors by now.
        """
        self.pending = False
        del self.made[: -ANCESTORS_MAX - 1]

    def fate(self, expected: Snapshot, current: Standing) -> Fate:
        """Tell the fate of tries of which the record shows none to have been applied."""
        if is_same(current, expected):
            return Fate.UNDECIDED
        if (
            self.pending
            and not self._moves(expected)
            and not descends(current.ancestors, expected.salt)
        ):
            return Fate.UNKNOWN
        return Fate.OVERTAKEN

    def _moves(self, expected: Snapshot) -> bool:
        """Tell whether they change the key: applied, they would have left no record."""
        return self.made[-1].session_key != expected.session_key
