"""A session as one request wants it stored, and the record that this makes.

What may not be stored is refused here, before anything is sent for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth import SESSION_KEY as USER_ID

from sessions_kms.format.ancestors import succeeding
from sessions_kms.format.record import SessionRecord
from sessions_kms.format.serializer import Codec
from sessions_kms.sealed_items.sealing import Sealing
from sessions_kms.services import Services
from sessions_kms.session import anonymous, links
from sessions_kms.session.lifetime import Lifetime
from sessions_kms.session.snapshot import Snapshot


@dataclass(init=False, slots=True, eq=False, repr=False)
class Draft:
    """What is to be stored under a session key. ``payload`` is the content, serialized.

    ``signed_in`` says that somebody has since the session was loaded, ``user_id`` whose session
    it is: None for nobody's.
    """

    session_key: str
    content: Mapping[str, Any]
    payload: bytes
    signed_in: bool
    lifetime: Lifetime
    user_id: Any = field(init=False)

    def __init__(
        self,
        session_key: str,
        content: Mapping[str, Any],
        payload: bytes,
        signed_in: bool,
        lifetime: Lifetime,
    ) -> None:
        __traceback_hide__ = True
        self.session_key = session_key
        self.content = content
        self.payload = payload
        self.signed_in = signed_in
        self.lifetime = lifetime
        self.user_id = content.get(USER_ID)

    def starts_anew(self, base: Snapshot) -> bool:
        """Tell whether someone signed in since, so that the absolute timeout starts again."""
        return base.is_followed_by_sign_in(self.user_id, told=self.signed_in)

    def is_as_stored(self, base: Snapshot, now: float) -> bool:
        """Tell whether what is stored says the same, and ends at about the same time."""
        if self.starts_anew(base) or self.payload != base.payload:
            return False
        moved = abs(self.lifetime.ttl(self.content, now, base.created_at) - base.ttl)
        return moved * 10 <= self.lifetime.idle_age(self.content, now)


def check(services: Services, codec: Codec, draft: Draft, base: Snapshot | None) -> None:
    """Refuse what may not follow what is stored.

    Raises AnonymousSessionTooLarge, or ValueError for malformed links.
    """
    __traceback_hide__ = True
    if draft.user_id is None:
        _check_size(draft, base, services.config.anonymous_max_size)
    if links.LINKS in draft.content:
        _check_links(draft, base, codec)


def _check_size(draft: Draft, base: Snapshot | None, limit: int | None) -> None:
    """Refuse more than may be kept for nobody."""
    __traceback_hide__ = True
    was_anonymous = base is not None and base.user_id is None
    stored = len(base.payload) if base is not None and was_anonymous else None
    anonymous.check_size(len(draft.payload), limit, stored=stored)


def _check_links(draft: Draft, base: Snapshot | None, codec: Codec) -> None:
    """Refuse malformed links, unless they were stored before: then they are only ignored."""
    __traceback_hide__ = True
    listed = draft.content[links.LINKS]
    fault = links.fault_in(listed)
    if fault is None:
        return
    if base is None or codec.loads(base.payload).get(links.LINKS) != listed:
        raise ValueError(fault)


async def sealed(
    services: Services,
    codec: Codec,
    draft: Draft,
    base: Snapshot | None,
    *,
    is_checked: bool = False,
) -> tuple[SessionRecord, Snapshot]:
    """Seal a draft, to follow what is expected to be stored; give the snapshot it makes, too.

    Raises what `check` raises, unless this draft ``is_checked`` against this base already,
    SessionTooLarge or StoreUnavailable.
    """
    __traceback_hide__ = True
    if not is_checked:
        check(services, codec, draft, base)
    seal = await Sealing(services).seal(draft.payload)
    created = seal.now if base is None or draft.starts_anew(base) else base.created_at
    stays = base is not None and base.session_key == draft.session_key
    record = seal.record(
        draft.session_key,
        revision=base.revision + 1 if base and stays else 1,
        created_at=created,
        ttl=draft.lifetime.ttl(draft.content, seal.now, created),
        user_id=draft.user_id,
        item_id=base.id if base and stays else None,
        ancestors=succeeding(base.salt, base.ancestors) if base else b"",
    )
    return record, Snapshot.of(record, draft.session_key, draft.payload, draft.content)
