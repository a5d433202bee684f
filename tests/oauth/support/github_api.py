"""GitHub's API for one person, with the same rejections as GitHub.

https://docs.github.com/en/rest/users/emails
https://docs.github.com/en/rest/orgs/members
https://docs.github.com/en/rest/teams/members
https://docs.github.com/en/organizations/managing-oauth-access-to-your-organizations-data
"""

from dataclasses import dataclass, field
from typing import Any

from tests.oauth.support.fake_provider import FakeProvider, Response, json_response

RESTRICTED = {
    "message": "Although you appear to have the correct authorization credentials, the `acme` "
    "organization has enabled OAuth App access restrictions, meaning that data access to "
    "third-parties is limited."
}


@dataclass
class GitHubApi:
    """The data at GitHub; ``states`` are the membership states by organization or team."""

    provider: FakeProvider
    emails: list[dict[str, Any]] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    restricted: set[str] = field(default_factory=set)
    limited: bool = False
    asked: list[str] = field(default_factory=list)

    def respond_at(self, path: str, parameters: dict[str, str], authorization: str) -> Response:
        """Respond to requests that the provider itself does not handle."""
        self.asked.append(path)
        kind, _, token = authorization.partition(" ")
        if kind != "Bearer" or token not in self.provider.people_of_tokens:
            return json_response({"message": "Bad credentials"}, 401)
        if self.limited:
            return json_response({"message": "API rate limit exceeded for user ID 77."}, 403)
        if path == "/user/emails":
            return self._emails(parameters)
        match path.strip("/").split("/"):
            case ["user", "memberships", "orgs", organisation]:
                return self._membership(organisation, organisation)
            case ["orgs", organisation, "teams", team, "memberships", "ada"]:
                return self._membership(organisation, f"{organisation}/{team}")
        return json_response({"message": "Not Found"}, 404)

    def _emails(self, parameters: dict[str, str]) -> Response:
        if "user:email" not in self._scopes():
            return json_response({"message": "Not Found"}, 404)
        size = min(int(parameters.get("per_page", 30)), 100)
        start = (int(parameters.get("page", 1)) - 1) * size
        return json_response(self.emails[start : start + size])

    def _membership(self, organisation: str, group: str) -> Response:
        if "read:org" not in self._scopes():
            return json_response({"message": "You need at least read:org scope."}, 403)
        if organisation in self.restricted:
            return json_response(RESTRICTED, 403)
        if group not in self.states:
            return json_response({"message": "Not Found"}, 404)
        return json_response({"state": self.states[group], "role": "member"})

    def _scopes(self) -> list[str]:
        return self.provider.authorizations[-1].get("scope", "").split()


def mail(address: str, *, verified: bool = True) -> dict[str, Any]:
    return {"email": address, "primary": False, "verified": verified, "visibility": None}
