"""A draft, or a session in use, that goes on from another snapshot than it started from.

`merge` says what becomes of the changes. Content enters and leaves; only `go_on_with` changes
what is held already. Knows no table.
"""

from dataclasses import replace
from typing import Any

from django.contrib.sessions.backends.base import UpdateError

from sessions_kms.format.serializer import Codec
from sessions_kms.session import links
from sessions_kms.session.draft import Draft
from sessions_kms.session.merge import changed_keys, merge
from sessions_kms.session.snapshot import Snapshot

Content = dict[str, Any]


def rebased(
    codec: Codec, draft: Draft, base: Snapshot, theirs: Snapshot, content: Content
) -> Draft:
    """Return a draft that started from one snapshot as it goes on from another, and its content.

    Raises UpdateError when that is no longer the same person's session.
    """
    __traceback_hide__ = True
    merged = _over(codec, base, draft.user_id, theirs, content)
    if draft.payload != base.payload:
        merged = _laid_over(codec, base.payload, codec.loads(draft.payload), merged)
    return replace(draft, content=merged, payload=codec.dumps(merged))


def catch_up(
    codec: Codec, session: Content, user_id: Any, base: Snapshot, theirs: Snapshot
) -> None:
    """Have a session that started from one snapshot go on from another.

    Raises UpdateError when that is no longer the same person's session.
    """
    __traceback_hide__ = True
    content = _over(codec, base, user_id, theirs, codec.loads(theirs.payload))
    go_on_with(codec, session, base.payload, content)


def go_on_with(codec: Codec, session: Content, since: bytes, content: Content) -> None:
    """Have a session hold other content, with what was changed in it since laid over that.

    Where both say the same, what was there stays: somebody may hold it, and change it yet.
    """
    __traceback_hide__ = True
    now = codec.dumps(session)
    ours = codec.loads(now)
    merged = content if now == since else _laid_over(codec, since, ours, content)
    changed = changed_keys(ours, merged, codec.dumps)
    for key in [key for key in session if key not in merged]:
        session.pop(key, None)
    # The dict is never empty meanwhile: others may be reading it.
    session.update({key: merged[key] for key in merged if key in changed or key not in session})


def _over(
    codec: Codec, base: Snapshot, user_id: Any, theirs: Snapshot, content: Content
) -> Content:
    """Return what others have made of a snapshot, where it is the same person's."""
    __traceback_hide__ = True
    if not base.user_id == theirs.user_id == user_id:
        raise UpdateError
    before = codec.loads(base.payload)
    return content | links.merged(before, before, content)


def _laid_over(codec: Codec, since: bytes, ours: Content, content: Content) -> Content:
    """Return content with what was changed in ours since laid over it."""
    __traceback_hide__ = True
    before = codec.loads(since)
    merged = merge(before, ours, content, codec.dumps)
    return merged | links.merged(before, ours, content)
