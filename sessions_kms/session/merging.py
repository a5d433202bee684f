"""Merges the changes of a request into a session that others have saved since.

Works with plain dicts, as a serializer returns them; only `update_content` changes a dict that is
in use. Does not access the table.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.sessions.backends.base import UpdateError

from sessions_kms.format.serializer import Codec
from sessions_kms.session import links
from sessions_kms.session.repository import LoadedVersion

Dumps = Callable[[dict[str, Any]], bytes]
PLAIN = frozenset((str, int, bool, type(None)))
MISSING = object()
Content = dict[str, Any]


def changed_keys(base: Mapping[str, Any], ours: Mapping[str, Any], dumps: Dumps) -> set[str]:
    """Return the top-level keys that were added, changed or deleted since base.

    Serialized forms are compared, so that a mutation deep inside a value counts.
    """
    __traceback_hide__ = True
    changed = set()  # A comprehension has its own frame in Python 3.11, which would show both.
    for key in base.keys() | ours.keys():
        if _is_equal_scalar(base.get(key, MISSING), ours.get(key, MISSING)):
            continue
        if _serialize_key(base, key, dumps) != _serialize_key(ours, key, dumps):
            changed.add(key)
    return changed


@dataclass(frozen=True, repr=False)
class Changes:
    """What a request changed in the content that it started from."""

    base: Mapping[str, Any]
    ours: Mapping[str, Any]
    keys: set[str]

    @classmethod
    def between(cls, base: Mapping[str, Any], ours: Mapping[str, Any], dumps: Dumps) -> "Changes":
        """Return what differs between two contents."""
        __traceback_hide__ = True
        return cls(base, ours, changed_keys(base, ours, dumps))

    def merge_into(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the content that others have stored since, with these changes.

        A key that either side deleted stays deleted; if both changed one, ours wins.
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
    """Return their content with the changes of this request."""
    __traceback_hide__ = True
    return Changes.between(base, ours, dumps).merge_into(theirs)


def _is_equal_scalar(one: Any, other: Any) -> bool:
    """Return True if two values are the same text, number or constant: serializing takes longer.

    They must be of one type: `1 == True == 1.0`.
    """
    __traceback_hide__ = True
    return type(one) is type(other) and type(one) in PLAIN and one == other


def _serialize_key(session: Mapping[str, Any], key: str, dumps: Dumps) -> bytes | None:
    __traceback_hide__ = True
    return dumps({key: session[key]}) if key in session else None


def update_session(
    codec: Codec, session: Content, user_id: Any, base: LoadedVersion, theirs: LoadedVersion
) -> None:
    """Change a session in use, loaded from one version, to a newer one with its own changes.

    Raises UpdateError if it is no longer the same user's session.
    """
    __traceback_hide__ = True
    content = get_theirs(codec, base, user_id, theirs, codec.loads(theirs.payload))
    update_content(codec, session, base.payload, content)


def update_content(codec: Codec, session: Content, since: bytes, content: Content) -> None:
    """Change a dict in use to other content, keeping its own changes ``since``.

    Equal values stay the same objects: other code may refer to one, and change it later.
    """
    __traceback_hide__ = True
    now = codec.dumps(session)
    ours = codec.loads(now)
    merged = content if now == since else merge_since(codec, since, ours, content)
    changed = changed_keys(ours, merged, codec.dumps)
    for key in [key for key in session if key not in merged]:
        session.pop(key, None)
    # The dict is never empty in between: other threads may be reading it.
    session.update({key: merged[key] for key in merged if key in changed or key not in session})


def get_theirs(
    codec: Codec, base: LoadedVersion, user_id: Any, theirs: LoadedVersion, content: Content
) -> Content:
    """Return what others stored after a version. Raises UpdateError if the user differs."""
    __traceback_hide__ = True
    if not base.user_id == theirs.user_id == user_id:
        raise UpdateError
    before = codec.loads(base.payload)
    return content | links.merge(before, before, content)


def merge_since(codec: Codec, since: bytes, ours: Content, content: Content) -> Content:
    """Return content with what changed in ours since."""
    __traceback_hide__ = True
    before = codec.loads(since)
    merged = merge(before, ours, content, codec.dumps)
    return merged | links.merge(before, ours, content)
