"""Looks up one account in its provider's API, with the person's own token and a time limit.

From GitHub it reads verified addresses, organizations and teams. Only the organizations and teams
that the settings name are looked up, one by one: a list would silently omit those that restrict
OAuth apps, whereas a lookup of one of them is rejected.

From Microsoft Graph it reads the groups of a person whose token omits them because there are more
than 200. The URL in the token is not used: it belongs to an API that was shut down, and a token is
sent only to URLs defined here. Groups are looked up 20 at a time, including nested ones, with the
scope `User.Read`.
https://learn.microsoft.com/en-us/graph/api/directoryobject-checkmembergroups
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from oauth.access_rule import GROUP_ID, Evidence, Refusal, parse_address
from oauth.exceptions import ProviderUnavailable
from oauth.network import http
from oauth.network.responses import ProviderResponse, is_shallow
from oauth.network.vetted_addresses import Reach

TOTAL_TIMEOUT = 10.0  # seconds for all requests of one sign-in

# https://docs.github.com/en/rest/about-the-rest-api/api-versions
GITHUB_HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
PAGE_SIZE = 100  # addresses; https://docs.github.com/en/rest/users/emails
PAGES_MAX = 5

GROUPS_PER_REQUEST = 20
GRAPH_SCOPES = frozenset({"user.read", "directory.read.all"})


class ProviderAPI:
    """The API requests of one sign-in, with one time limit. Each raises ProviderUnavailable."""

    def __init__(
        self,
        access_token: str,
        reach: Reach,
        headers: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._headers = {**headers, "Authorization": f"Bearer {access_token}"}
        self._reach = reach
        self._clock = clock
        self._end = clock() + TOTAL_TIMEOUT

    def get(self, url: str) -> ProviderResponse:
        """Send a GET request."""
        __traceback_hide__ = True
        return self._request("GET", url, None)

    def post(self, url: str, content: Mapping[str, Any]) -> ProviderResponse:
        """Post a JSON object."""
        __traceback_hide__ = True
        return self._request("POST", url, json.dumps(content).encode())

    def _request(self, method: str, url: str, body: bytes | None) -> ProviderResponse:
        __traceback_hide__ = True
        remaining = self._end - self._clock()
        if remaining <= 0:
            raise ProviderUnavailable("The provider is too slow.")
        headers = self._headers if body is None else self._headers | {"Content-Type": JSON}
        timeout = min(remaining, http.GET_TIMEOUT)
        response = http.request(method, url, headers, body, reach=self._reach, timeout=timeout)
        if response.is_overloaded:
            raise ProviderUnavailable("The provider does not return the account's data now.")
        return response


JSON = "application/json"


def parse_objects(response: ProviderResponse) -> list[Mapping[str, Any]]:
    """Return the objects in a response that is a list. Raises ProviderUnavailable."""
    __traceback_hide__ = True
    try:
        found = json.loads(response.body)
    except (RecursionError, ValueError):
        found = None
    if not isinstance(found, list) or not is_shallow(found):
        raise ProviderUnavailable("The provider's response cannot be parsed.")
    return [each for each in found if isinstance(each, Mapping)]


@dataclass(frozen=True)
class GitHub:
    """GitHub's API for one person: its base URL, and the person's user name there."""

    api: str
    login: str
    client: ProviderAPI

    def read_evidence(self, *, needs_addresses: bool, groups: Iterable[str]) -> Evidence:
        """Request what the rule needs. Raises ProviderUnavailable."""
        __traceback_hide__ = True
        found = self._addresses() if needs_addresses else {}
        states = {group: self._is_member(group) for group in sorted(groups)}
        # None: the token may not see a group.
        hidden = None in states.values()
        return Evidence(
            addresses=frozenset(found or ()),
            primary=next((each for each, is_primary in (found or {}).items() if is_primary), None),
            groups=frozenset(group for group, state in states.items() if state),
            no_address=Refusal.ADDRESSES_NOT_READ if found is None else Refusal.NOT_VERIFIED,
            no_group=Refusal.RESTRICTED if hidden else Refusal.GROUP,
        )

    def _addresses(self) -> dict[str, bool] | None:
        """Return the verified addresses, and which is primary; None if they cannot be read.

        Reading them takes the scope `user:email`: https://docs.github.com/en/rest/users/emails
        """
        __traceback_hide__ = True
        found: dict[str, bool] = {}
        for page in range(1, PAGES_MAX + 1):
            response = self.client.get(f"{self.api}/user/emails?per_page={PAGE_SIZE}&page={page}")
            if _is_refused(response):
                return None
            listed = parse_objects(_require_ok(response))
            found |= {
                address: entry.get("primary") is True
                for entry in listed
                if (address := _verified_address(entry))
            }
            if len(listed) < PAGE_SIZE:
                break
        return found

    def _is_member(self, group: str) -> bool | None:
        """Return True if the person is an active member; None if GitHub does not say.

        An organization that restricts OAuth apps, or requires SAML sign-in for them, answers 403:
        https://docs.github.com/en/rest/orgs/members#get-an-organization-membership-for-the-authenticated-user
        https://docs.github.com/en/rest/teams/members#get-team-membership-for-a-user
        """
        __traceback_hide__ = True
        organization, _, team = group.partition("/")
        if team:
            path = f"/orgs/{organization}/teams/{team}/memberships/{quote(self.login, safe='')}"
        else:
            path = f"/user/memberships/orgs/{organization}"
        response = self.client.get(self.api + path)
        if response.status == 404:
            return False
        if _is_refused(response):
            return None
        # An invitation that was not accepted yet is "pending".
        return _require_ok(response).parse().get("state") == "active"


def verified_addresses(listed: Iterable[object]) -> set[str]:
    """Return the verified addresses in a response of `/user/emails`, normalized."""
    return {each for entry in listed if (each := _verified_address(entry))}


def _is_refused(response: ProviderResponse) -> bool:
    """Return True if the token may not read this. Raises ProviderUnavailable at a rate limit.

    https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
    """
    if response.status == 403 and b"rate limit" in response.body.lower():
        raise ProviderUnavailable("GitHub's rate limit is exceeded.")
    return response.status in {403, 404}


def _require_ok(response: ProviderResponse) -> ProviderResponse:
    if response.status != 200:
        raise ProviderUnavailable("The provider does not return the account's data now.")
    return response


def _verified_address(entry: object) -> str | None:
    address = (
        entry.get("email") if isinstance(entry, dict) and entry.get("verified") is True else None
    )
    try:
        return parse_address(address) if isinstance(address, str) else None
    except ValueError:
        return None


def may_use_graph(scope: Iterable[str], graph: str) -> bool:
    """Return True if a token is for Graph: no other token is sent there."""
    prefixes = ("", f"{graph}/")
    parts = (each.lower().rpartition("/") for each in scope)
    return any(
        f"{start}{slash}" in prefixes and name in GRAPH_SCOPES for start, slash, name in parts
    )


def find_graph_groups(graph: str, named: Iterable[str], api: ProviderAPI) -> frozenset[str] | None:
    """Return which of the named groups a person is in; None if Graph does not say.

    Raises ProviderUnavailable.
    """
    __traceback_hide__ = True
    ids = sorted(name for name in named if GROUP_ID.fullmatch(name))
    if not ids:
        return None
    found: set[str] = set()
    for batch in _batches(ids):
        response = api.post(f"{graph}/v1.0/me/checkMemberGroups", {"groupIds": batch})
        if response.status != 200:
            return None
        listed = response.parse().get("value")
        if not isinstance(listed, list):
            raise ProviderUnavailable("The provider's response cannot be parsed.")
        lowered = {each.lower() for each in listed if isinstance(each, str)}
        found |= {each for each in batch if each.lower() in lowered}
    return frozenset(found)


def _batches(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), GROUPS_PER_REQUEST):
        yield ids[start : start + GROUPS_PER_REQUEST]
