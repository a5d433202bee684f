"""The groups of a person whom Entra ID counts over 200 of: Microsoft Graph is asked.

Not the address that the token names (it is of an API that has ended, and a token is sent only
where our own text says), and only for the groups that are named here: 20 at a time, nested
ones included, with the person's own token and the scope `User.Read`.
https://learn.microsoft.com/en-us/graph/api/directoryobject-checkmembergroups
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from oauth.access_rule.issuers import GROUP_ID
from oauth.admission.asking import Asking
from oauth.exceptions import ProviderUnavailable

AT_ONCE = 20
ENOUGH = frozenset({"user.read", "directory.read.all"})  # scopes


def may_ask(scope: Iterable[str], graph: str) -> bool:
    """Tell whether a token is one for Graph: no other's is sent there."""
    prefixes = ("", f"{graph}/")
    parts = (each.lower().rpartition("/") for each in scope)
    return any(f"{start}{slash}" in prefixes and name in ENOUGH for start, slash, name in parts)


def groups(graph: str, named: Iterable[str], asking: Asking) -> frozenset[str] | None:
    """Return which of the named groups a person is in; None where Graph does not tell.

    Raises ProviderUnavailable when it cannot be asked now.
    """
    __traceback_hide__ = True
    ids = sorted(name for name in named if GROUP_ID.fullmatch(name))
    if not ids:
        return None
    found: set[str] = set()
    for asked in _batches(ids):
        answer = asking.post(f"{graph}/v1.0/me/checkMemberGroups", {"groupIds": asked})
        if answer.status != 200:
            return None
        told = answer.content().get("value")
        if not isinstance(told, list):
            raise ProviderUnavailable("The provider's answer cannot be read.")
        lowered = {each.lower() for each in told if isinstance(each, str)}
        found |= {each for each in asked if each.lower() in lowered}
    return frozenset(found)


def _batches(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), AT_ONCE):
        yield ids[start : start + AT_ONCE]
