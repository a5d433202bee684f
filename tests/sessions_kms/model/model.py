"""A model of the engine's promises: a dict of sessions, and visits that change them.

A visit is one request of a browser. `effects` returns the possible effects of each of its actions
on its session; two overlapping visits may have happened in either order.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import Any

from tests.sessions_kms.model.world import Stored

USER = "_auth_user_id"
LINKS = "_links"
Content = dict[str, Any]

OK = "ok"
INTERRUPTED = "interrupted"  # the session has ended, or now belongs to another person: 400
UNAVAILABLE = "unavailable"  # 503
DEAD = "dead"  # the process was killed
UNKNOWN = (UNAVAILABLE, DEAD)


@dataclass
class Seen:
    """The model's view of a visit's session object."""

    key: str | None
    base: Content | None = None  # the loaded content; None before loading
    base_salt: bytes = b""
    ours: Content = field(default_factory=dict)
    loaded: bool = False
    modified: bool = False
    signed_in: bool = False

    @property
    def replaced(self) -> bool:
        """Return True if it replaced content that it never read."""
        return self.loaded and self.key is not None and self.base is None

    @property
    def unchanged(self) -> bool:
        return self.base is not None and self.ours == self.base and not self.signed_in

    @property
    def starts_anew(self) -> bool:
        """Return True if somebody has signed in since, which restarts the absolute timeout."""
        user = self.ours.get(USER)
        return self.signed_in or (user is not None and user != (self.base or {}).get(USER))


@dataclass(frozen=True)
class Effect:
    """One possible effect of an action: the result, the stored session, and one with a new key."""

    outcome: str
    stands: Stored | None
    moved: Content | None = None


def effects(seen: Seen, action: str, before: Stored | None) -> Iterator[Effect]:
    """Yield the effects of an action on the stored session of the visit's key, without faults."""
    if action == "flush":
        yield Effect(OK, None)
    elif seen.key is None:
        yield Effect(OK, before, seen.ours)
    elif before is None:
        yield Effect(INTERRUPTED, None)
        if seen.unchanged and action == "save":  # There is nothing to save, so no call is made.
            yield Effect(OK, None)
    else:
        yield from _on_live(seen, action, before)


def _on_live(seen: Seen, action: str, before: Stored) -> Iterator[Effect]:
    if seen.unchanged and action == "save":
        yield Effect(OK, before)
    written = _merge_into(seen, before)
    if written is None:
        yield Effect(INTERRUPTED, before)
    elif action == "cycle":
        yield Effect(OK, None, written)
    else:
        yield Effect(OK, replace(before, content=written, salt=b"new", user=written.get(USER)))


def _merge_into(seen: Seen, before: Stored) -> Content | None:
    """Return the content after a write; None if the session now belongs to another person."""
    if seen.base is None or seen.base_salt == before.salt:
        return seen.ours
    users = {str(each.get(USER)) for each in (seen.base, seen.ours, before.content)}
    return None if len(users) > 1 else merge(seen.base, seen.ours, before.content)


def merge(base: Content, ours: Content, theirs: Content) -> Content:
    """Merge as in the design: deletions win, otherwise this request's value."""
    found: Content = {}
    for key in base.keys() | ours.keys() | theirs.keys():
        deleted = key in base and (key not in ours or key not in theirs)
        changed = key in ours and (key not in base or ours[key] != base[key])
        if deleted:
            continue
        if key in theirs or changed:
            found[key] = copy.deepcopy(ours[key] if changed else theirs[key])
    if ours.get(LINKS) or theirs.get(LINKS):
        before, here, there = (set(each.get(LINKS, [])) for each in (base, ours, theirs))
        found[LINKS] = sorted((before & here & there) | ((here | there) - before))
    return found


@dataclass(frozen=True)
class Result:
    """An action of a visit, as it was at its start, and its result."""

    seen: Seen
    action: str
    outcome: str


def outcomes(told: Sequence[Result], before: Stored | None) -> Iterator[tuple[Any, list[Any]]]:
    """Yield the stored session after these actions in this order, and the sessions they moved."""
    if not told:
        yield None if before is None else before.content, []
        return
    first, *rest = told
    for effect in _possible(first, before):
        for stands, moved in outcomes(rest, effect.stands):
            yield stands, [effect.moved, *moved]


def _possible(told: Result, before: Stored | None) -> Iterator[Effect]:
    for effect in effects(told.seen, told.action, before):
        if told.outcome in (effect.outcome, *UNKNOWN):
            yield effect
    if told.outcome in UNKNOWN:
        yield Effect(told.outcome, before)


def in_any_order(
    told: Sequence[Result], before: Stored | None, saw: frozenset[int] = frozenset()
) -> Iterator[tuple[Any, list[Any]]]:
    """Yield the stored session after overlapping actions in any order, and the sessions they moved.

    Those in ``saw`` loaded what another of them had written, so they came after it.
    """
    for order in permutations(range(len(told))):
        if any(number not in saw for number in order[len(told) - len(saw) :]):
            continue
        for after, moved in outcomes([told[number] for number in order], before):
            yield after, [found for _, found in sorted(zip(order, moved, strict=True), key=first)]


def first(pair: tuple[int, Any]) -> int:
    return pair[0]


def agree(sure: list[bool], expected: list[Any], found: list[Any]) -> bool:
    """Return True if the moved sessions are stored, if the result says so."""
    return all(
        not known or one == other for known, one, other in zip(sure, expected, found, strict=True)
    )
