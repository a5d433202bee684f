"""Which items a pair of tokens names, so that whoever spends or ends it can delete them. Pure.

A refresh token names the access tokens whose items may still exist, at most eight. Each exchange
drops those that are over, and the oldest where there would be nine: only that one ends early.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from oauth.clients.sealed_grant import AccessTokenItem, Answer, SealedGrant
from sessions_kms.sealed_items.tokens import Tokens

NAMED_MAX: Final = 8


class Succession(NamedTuple):
    """What the next refresh token names, and the ids of the items that it no longer does.

    Those in ``expired`` are over, whatever becomes of the exchange. Those in ``surplus`` are good
    until it is known to have been made.
    """

    named: tuple[AccessTokenItem, ...]
    expired: tuple[str, ...]
    surplus: tuple[str, ...]


def succeed(
    named: Sequence[AccessTokenItem],
    new: AccessTokenItem,
    has_passed: Callable[[int], bool],
) -> Succession:
    """Return what is named once a new access token is given."""
    expired = tuple(each.id for each in named if has_passed(each.ends_at))
    good = (*(each for each in named if each.id not in expired), new)
    surplus = tuple(each.id for each in good[:-NAMED_MAX])
    return Succession(good[-NAMED_MAX:], expired, surplus)


def items_of(grant: SealedGrant, item_id: str) -> list[str]:
    """Return the ids of all items that a token names, whose own item is this one."""
    previous = None if grant.previous is None else grant.previous.id
    spent = [each for each in (item_id, grant.refresh_token, previous) if each is not None]
    answers = [Tokens.answer_beside(each) for each in spent]
    return [*spent, *answers, *(each.id for each in grant.access_tokens)]


def items_answered(answer: Answer, id_of: Callable[[str], str]) -> list[str]:
    """Return the ids of the items of the tokens in an answer."""
    __traceback_hide__ = True
    return [id_of(answer.access_token), id_of(answer.refresh_token)]
