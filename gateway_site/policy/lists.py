"""Lists of tools, prompts and resources: each caller sees what they may call, on every page.

A list is known by its members, since a resumed stream has results of earlier calls. `nextCursor`
stays, also on a page of which nothing is left. No shared cache may keep what depends on the caller:
https://modelcontextprotocol.io/specification/2026-07-28/server/utilities/caching
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from gateway_site.mcp.json_text import JSONObject
from gateway_site.mcp.messages import (
    INVALID_REQUEST,
    MEMBERS,
    PROTOTYPE,
    InvalidMessage,
    find_lookalike,
    fold,
)
from gateway_site.mcp.version_headers import is_stateless
from gateway_site.policy.rules import CallerRules
from gateway_site.policy.subjects import PROMPTS, RESOURCES, TOOLS, Subject

TEMPLATES = "resourceTemplates"
# The member of an entry that decides, and the method that it is for.
DECIDING = {
    TOOLS: ("name", "tools/call"),
    PROMPTS: ("name", "prompts/get"),
    RESOURCES: ("uri", "resources/read"),
    TEMPLATES: ("uriTemplate", "resources/read"),
}
NAMED_ONCE = frozenset({TOOLS, PROMPTS})
CACHE_SCOPE, TTL, PRIVATE = "cacheScope", "ttlMs", "private"
TTL_MAX = 60_000  # milliseconds


def filter_result(rules: CallerRules, result: JSONObject, version: str | None) -> JSONObject | None:
    """Return what a caller may see of a result; None if that is all of it, as it is.

    `version` is the protocol's. Raises InvalidMessage for a list that is none.
    """
    changed: JSONObject = {}
    for kind in DECIDING.keys() & result.keys():
        kept = _filter_entries(rules, kind, result[kind])
        if len(kept) != len(result[kind]):
            changed[kind] = kept
    is_list = not DECIDING.keys().isdisjoint(result)
    changed |= _limit_caching(result, is_new_list=is_list and is_stateless(version))
    return {**result, **changed} if changed else None


def _filter_entries(rules: CallerRules, kind: str, entries: Any) -> list[Any]:
    if not isinstance(entries, list):
        raise InvalidMessage(INVALID_REQUEST, f"{kind} must be a list.")
    member, method = DECIDING[kind]
    names = [_name_of(each, member) for each in entries]
    counts = Counter(names) if kind in NAMED_ONCE else Counter()
    may_see: Callable[[str], bool] = (
        rules.may_see_template
        if kind == TEMPLATES
        else lambda name: rules.decide(method, (Subject(kind, name),)).is_allowed
    )
    return [
        entry
        for entry, name in zip(entries, names, strict=True)
        if name is not None and counts[name] < 2 and is_clear(entry, member) and may_see(name)
    ]


def _name_of(entry: Any, member: str) -> str | None:
    name = entry.get(member) if isinstance(entry, dict) else None
    return name if isinstance(name, str) else None


def is_clear(entry: JSONObject, member: str) -> bool:
    """Return True if no client finds another name in the entry (see `messages`)."""
    folded = fold(member)
    if PROTOTYPE in entry or any(key != member and fold(key) == folded for key in entry):
        return False
    return find_lookalike(entry, MEMBERS) is None


def _limit_caching(result: JSONObject, *, is_new_list: bool) -> JSONObject:
    changed: JSONObject = {}
    if (is_new_list or CACHE_SCOPE in result) and result.get(CACHE_SCOPE) != PRIVATE:
        changed[CACHE_SCOPE] = PRIVATE
    if TTL in result and not _is_short(result[TTL]):
        changed[TTL] = TTL_MAX
    return changed


def _is_short(ttl: Any) -> bool:
    is_number = isinstance(ttl, int | float) and not isinstance(ttl, bool)
    return is_number and 0 <= ttl <= TTL_MAX
