"""What a provider told of one account, as far as it decides; and why something is not there."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Refusal(StrEnum):
    """Why somebody may not sign in: the code on the page, in the log and in the docs."""

    NO_ADDRESS = "no_address"
    NOT_VERIFIED = "email_not_verified"
    ADDRESSES_NOT_READ = "addresses_not_read"
    ADDRESS = "not_allowed_domain"
    HOSTED_DOMAIN = "not_hosted_domain"
    GROUP = "not_allowed_group"
    NO_GROUPS = "groups_missing"
    OVERAGE = "groups_overage"
    RESTRICTED = "organization_restricted"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The addresses that count, in their one form, and the groups.

    ``no_address`` and ``no_group`` say what is the matter where none that is asked for is there.
    """

    addresses: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    hosted_domain: str | None = None
    no_address: Refusal = Refusal.NO_ADDRESS
    no_group: Refusal = Refusal.NO_GROUPS
