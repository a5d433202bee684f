"""What this request changed in a session, laid over what another one saved meanwhile.

Takes plain dicts as a serializer gives them back, and gives one. Knows nothing
about records, tables or Django.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Dumps = Callable[[dict[str, Any]], bytes]
PLAIN = frozenset((str, int, bool, type(None)))
MISSING = object()


def changed_keys(base: Mapping[str, Any], ours: Mapping[str, Any], dumps: Dumps) -> set[str]:
    """Return the top-level keys that were added, changed or deleted since base.

    Serialized forms are compared, so that a mutation deep inside a value counts.
    """
    __traceback_hide__ = True
    changed = set()  # Python 3.11 has a frame for a comprehension, which shows both.
    for key in base.keys() | ours.keys():
        if _plainly_equal(base.get(key, MISSING), ours.get(key, MISSING)):
            continue
        if _one(base, key, dumps) != _one(ours, key, dumps):
            changed.add(key)
    return changed


@dataclass(frozen=True, repr=False)
class Changes:
    """What a request made of what it started from."""

    base: Mapping[str, Any]
    ours: Mapping[str, Any]
    keys: set[str]

    @classmethod
    def between(cls, base: Mapping[str, Any], ours: Mapping[str, Any], dumps: Dumps) -> "Changes":
        """Find them."""
        __traceback_hide__ = True
        return cls(base, ours, changed_keys(base, ours, dumps))

    def over(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        """Lay them over what others have made of it.

        A key that either side deleted stays deleted; where both changed one, ours stands.
        """
        __traceback_hide__ = True
        merged = dict(theirs)
        for key in self.keys:
            deleted_there = key in self.base and key not in theirs
            if key not in self.ours:
                merged.pop(key, None)
            elif not deleted_there:
                merged[key] = self.ours[key]
        return merged


def merge(
    base: Mapping[str, Any], ours: Mapping[str, Any], theirs: Mapping[str, Any], dumps: Dumps
) -> dict[str, Any]:
    """Lay this request's changes over theirs."""
    __traceback_hide__ = True
    return Changes.between(base, ours, dumps).over(theirs)


def _plainly_equal(one: Any, other: Any) -> bool:
    """Tell whether two values are the same text, number or constant: to serialize takes longer.

    Of one type they must be: `1 == True == 1.0`.
    """
    __traceback_hide__ = True
    return type(one) is type(other) and type(one) in PLAIN and one == other


def _one(session: Mapping[str, Any], key: str, dumps: Dumps) -> bytes | None:
    __traceback_hide__ = True
    return dumps({key: session[key]}) if key in session else None
