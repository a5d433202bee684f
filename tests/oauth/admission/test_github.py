"""Admission with GitHub: by verified addresses, organisations and teams."""

import pytest
from pytest_django import Settings

from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.oauth.support.github_api import GitHubApi, mail
from tests.oauth.support.requests import stored_tokens


@pytest.fixture
def api(github: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> GitHubApi:
    api = GitHubApi(github)
    monkeypatch.setattr(github, "respond_at", api.respond_at)
    return api


def set_rules(settings: Settings, api: GitHubApi, **variables: str) -> None:
    own = {"ISSUER": "", "ALLOW_PRIVATE": "1"}
    configure(settings, environment("github", api.provider, **own, **variables))


def code_of(visitor: Visitor, api: GitHubApi) -> tuple[int, str]:
    response = visitor.sign_in(api.provider, "github")
    page = response.content.decode()
    shown = page.partition('<code id="error-code"')[2].partition(">")[2].partition("</code>")[0]
    return response.status_code, shown.partition(" ")[0]  # the request's id follows


IN = (302, "")


@pytest.mark.parametrize(
    ("emails", "outcome"),
    [
        ([mail("ada@users.noreply.github.com"), mail("Ada@example.com")], IN),
        ([mail("ada@example.com", verified=False)], (403, "email_not_verified")),
        ([mail("ada@example.org")], (403, "not_allowed_domain")),
        ([mail(f"ada{number}@elsewhere.example") for number in range(150)], None),
    ],
)
def test_verified_addresses_of_all_pages_count(
    api: GitHubApi,
    visitor: Visitor,
    settings: Settings,
    emails: list[dict[str, object]],
    outcome: tuple[int, str] | None,
) -> None:
    set_rules(settings, api, ALLOWED_DOMAINS="example.com")
    api.provider.person["email"] = "ada@example.com"  # chosen for the profile: of no account
    api.emails = emails if outcome else [*emails, mail("ada@example.com")]
    assert code_of(visitor, api) == (outcome or IN)
    assert api.asked == ["/user/emails"] * (1 if outcome else 2)


@pytest.mark.parametrize(
    ("variables", "states", "restricted", "outcome"),
    [
        ({"ALLOWED_ORGS": "Acme"}, {"acme": "active"}, set(), IN),
        ({"ALLOWED_ORGS": "acme"}, {"acme": "pending"}, set(), (403, "not_allowed_group")),
        ({"ALLOWED_ORGS": "acme"}, {"other": "active"}, set(), (403, "not_allowed_group")),
        ({"ALLOWED_TEAMS": "acme/dev"}, {"acme/dev": "active"}, set(), IN),
        ({"ALLOWED_TEAMS": "acme/dev"}, {"acme/dev": "pending"}, set(), (403, "not_allowed_group")),
        ({"ALLOWED_TEAMS": "acme/dev"}, {"acme": "active"}, set(), (403, "not_allowed_group")),
        (
            {"ALLOWED_ORGS": "acme"},
            {"acme": "active"},
            {"acme"},
            (403, "organization_restricted"),
        ),
        (
            {"ALLOWED_ORGS": "acme,open", "ALLOWED_TEAMS": "acme/dev"},
            {"open": "active"},
            {"acme"},
            IN,
        ),
    ],
)
def test_only_visible_active_members_are_admitted(
    *,
    caplog: pytest.LogCaptureFixture,
    api: GitHubApi,
    visitor: Visitor,
    settings: Settings,
    variables: dict[str, str],
    states: dict[str, str],
    restricted: set[str],
    outcome: tuple[int, str],
) -> None:
    set_rules(settings, api, **variables)
    api.states, api.restricted = states, restricted
    caplog.set_level("INFO")
    assert code_of(visitor, api) == outcome
    assert "memberships/ada" not in caplog.text
    if outcome == IN:
        active = {group for group in states if states[group] == "active"}
        assert set(stored_tokens(visitor, "github").groups) == active


def test_scopes_are_requested_only_if_a_rule_needs_them(
    api: GitHubApi, visitor: Visitor, settings: Settings
) -> None:
    set_rules(settings, api, ALLOWED_DOMAINS="*")
    assert code_of(visitor, api) == IN
    assert api.provider.authorizations[-1].get("scope", "") == ""
    assert api.asked == []
    set_rules(settings, api, ALLOWED_EMAILS="a@b.example", STAFF_GROUPS="acme", SCOPES="repo")
    visitor.start("github")
    assert Visitor().sign_in(api.provider, "github").status_code == 403
    asked = api.provider.authorizations[-1]["scope"].split()
    assert sorted(asked) == ["read:org", "repo", "user:email"]


@pytest.mark.parametrize("failure", ["limit", "server", "odd"])
def test_unavailable_api_is_a_503_and_not_a_rejection(
    api: GitHubApi, visitor: Visitor, settings: Settings, failure: str
) -> None:
    set_rules(settings, api, ALLOWED_ORGS="acme")
    api.limited = failure == "limit"
    responses = {"server": (502, "text/html", b"<html>"), "odd": (200, "application/json", b"[]")}
    if failure in responses:
        api.provider.failing["/user/memberships/orgs/acme"] = lambda: responses[failure]
    response = visitor.sign_in(api.provider, "github")
    assert (response.status_code, "Retry-After" in response.headers) == (503, True)
    assert visitor.user_id is None
