"""What GitHub tells of a person: verified addresses, organisations and teams.

Only the organisations and teams that are named here are asked for, one by one: a list would
leave out silently those that restrict OAuth apps, where a question for one is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

from oauth.access_rule.addresses import address
from oauth.access_rule.evidence import Evidence, Refusal
from oauth.admission.asking import Asking, members
from oauth.exceptions import ProviderUnavailable
from oauth.network.http import Answer

# https://docs.github.com/en/rest/about-the-rest-api/api-versions
HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
PAGE = 100  # addresses; https://docs.github.com/en/rest/users/emails
PAGES_MAX = 5


@dataclass(frozen=True)
class GitHub:
    """The API as one person sees it. ``api`` is its address, ``login`` what it calls them."""

    api: str
    login: str
    asking: Asking

    def evidence(self, *, wants_addresses: bool, groups: Iterable[str]) -> Evidence:
        """Ask for what decides. Raises ProviderUnavailable."""
        __traceback_hide__ = True
        addresses = self._addresses() if wants_addresses else frozenset()
        states = {group: self._is_member(group) for group in sorted(groups)}
        # None of those that may be seen decides it, and one may not be seen.
        hidden = None in states.values()
        return Evidence(
            addresses=addresses or frozenset(),
            groups=frozenset(group for group, state in states.items() if state),
            no_address=Refusal.ADDRESSES_NOT_READ if addresses is None else Refusal.NOT_VERIFIED,
            no_group=Refusal.RESTRICTED if hidden else Refusal.GROUP,
        )

    def _addresses(self) -> frozenset[str] | None:
        """Return the verified addresses, None where the token may not read them.

        It may with the scope `user:email`: https://docs.github.com/en/rest/users/emails
        """
        __traceback_hide__ = True
        found: set[str] = set()
        for page in range(1, PAGES_MAX + 1):
            answer = self.asking.get(f"{self.api}/user/emails?per_page={PAGE}&page={page}")
            if _is_refused(answer):
                return None
            listed = members(_checked(answer))
            found |= verified_of(listed)
            if len(listed) < PAGE:
                break
        return frozenset(found)

    def _is_member(self, group: str) -> bool | None:
        """Tell whether a person is an active member; None where GitHub may not tell.

        An organisation that restricts OAuth apps, or wants SAML sign-in for each, answers 403:
        https://docs.github.com/en/rest/orgs/members#get-an-organization-membership-for-the-authenticated-user
        https://docs.github.com/en/rest/teams/members#get-team-membership-for-a-user
        """
        __traceback_hide__ = True
        organisation, _, team = group.partition("/")
        if team:
            path = f"/orgs/{organisation}/teams/{team}/memberships/{quote(self.login, safe='')}"
        else:
            path = f"/user/memberships/orgs/{organisation}"
        answer = self.asking.get(self.api + path)
        if answer.status == 404:
            return False
        if _is_refused(answer):
            return None
        # An invitation that nobody accepted yet is "pending".
        return _checked(answer).content().get("state") == "active"


def verified_of(listed: Iterable[object]) -> set[str]:
    """Return the verified addresses of an answer of `/user/emails`, in their one form."""
    return {each for entry in listed if (each := _verified(entry))}


def _is_refused(answer: Answer) -> bool:
    """Tell whether the token may not ask this. Raises ProviderUnavailable at a rate limit.

    https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
    """
    if answer.status == 403 and b"rate limit" in answer.body.lower():
        raise ProviderUnavailable("GitHub has been asked too much.")
    return answer.status in {403, 404}


def _checked(answer: Answer) -> Answer:
    if answer.status != 200:
        raise ProviderUnavailable("The provider tells nothing of the account now.")
    return answer


def _verified(entry: object) -> str | None:
    told = entry.get("email") if isinstance(entry, dict) and entry.get("verified") is True else None
    try:
        return address(told) if isinstance(told, str) else None
    except ValueError:
        return None
