"""The variables of who may sign in: their settings, and their errors."""

from pathlib import Path

import pytest
from django.core.checks import Tags, run_checks
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from gateway_site.environment.admission import require_rules
from gateway_site.providers import configuration as providers_configuration
from gateway_site.rules.upstream import read_upstreams
from oauth.access_rule import Admission, Refusal
from tests import ROOT
from tests.gateway_site.support.loading import local, production
from tests.support.cases import each_case

CORP = {
    "OAUTH_CORP_CLIENT_ID": "corp",
    "OAUTH_CORP_CLIENT_SECRET": "s",
    "OAUTH_CORP_ISSUER": "https://login.example.com",
}
GOOGLE = {"OAUTH_GOOGLE_CLIENT_ID": "google", "OAUTH_GOOGLE_CLIENT_SECRET": "s"}
GITHUB = {"OAUTH_GITHUB_CLIENT_ID": "github", "OAUTH_GITHUB_CLIENT_SECRET": "s"}
ENTRA = CORP | {
    "OAUTH_CORP_ISSUER": "https://login.microsoftonline.com/common/v2.0",
    "OAUTH_CORP_ALLOWED_TENANTS": "11111111-2222-3333-4444-555555555555",
}
GROUP_ID = "00000000-0000-4000-8000-00000000000a"
TENANT = CORP | {
    "OAUTH_CORP_ISSUER": "https://login.microsoftonline.com/8eaef023-2b34-4da1-9baa-8bc8c9d6a490/v2.0"
}
PLAIN = {
    "OAUTH_CORP_CLIENT_ID": "corp",
    "OAUTH_CORP_CLIENT_SECRET": "s",
    "OAUTH_CORP_AUTHORIZATION_URL": "https://github.com/login/oauth/authorize",
    "OAUTH_CORP_TOKEN_URL": "https://login.example.com/token",
    "OAUTH_CORP_USERINFO_URL": "https://login.example.com/user",
    "OAUTH_CORP_ID_FIELD": "id",
}
PLAIN_ENTRA = PLAIN | {
    "OAUTH_CORP_AUTHORIZATION_URL": (
        "https://login.microsoftonline.com/common/oauth2/v2.0/authorize"
    ),
}
APPLE = CORP | {"OAUTH_CORP_ISSUER": "https://appleid.apple.com"}


def admissions(variables: dict[str, str]) -> dict[str, Admission]:
    """Return what each provider's settings say."""
    kinds = providers_configuration.social_providers(
        providers_configuration.read_providers(variables)
    )
    return {
        app.get("provider_id", kind): Admission.from_settings(app["settings"].get("admission", {}))
        for kind, configuration in kinds.items()
        for app in configuration["APPS"]
    }


def test_list_of_a_provider_replaces_the_general_one_of_its_kind() -> None:
    found = admissions(
        CORP
        | GOOGLE
        | {
            "SIGN_IN_ALLOWED_DOMAINS": "Example.com, .example.com",
            "SIGN_IN_ALLOWED_EMAILS": "Guest@example.org",
            "OAUTH_CORP_ALLOWED_DOMAINS": "bücher.example",
        }
    )
    assert found["google"].rule.domains == frozenset({"example.com", ".example.com"})
    assert found["corp"].rule.domains == frozenset({"xn--bcher-kva.example"})
    assert (
        found["corp"].rule.emails == found["google"].rule.emails == frozenset({"guest@example.org"})
    )


def test_groups_have_blanks_and_commas_in_their_names() -> None:
    named = "Domain Users, cn=staff\\,dc=example"
    (corp,) = admissions(CORP | {"SIGN_IN_ALLOWED_GROUPS": named}).values()
    assert corp.rule.groups == frozenset({"Domain Users", "cn=staff,dc=example"})


def test_organisations_and_teams_are_groups_and_so_are_those_of_upstreams() -> None:
    found = admissions(
        GITHUB
        | {
            "SIGN_IN_ALLOWED_GROUPS": "elsewhere",
            "OAUTH_GITHUB_ALLOWED_ORGS": "Acme",
            "OAUTH_GITHUB_ALLOWED_TEAMS": "acme/Dev",
            "UPSTREAM_API_PROVIDER": "github",
            "UPSTREAM_API_ALLOWED_GROUPS": "Acme/Ops",
        }
    )["github"]
    assert found.rule.groups == frozenset({"acme", "acme/dev"})
    assert found.named_groups == {"acme", "acme/dev", "acme/ops"}


@each_case(
    ("variables", "named"),
    [
        (CORP | {"OAUTH_CORP_ALLOWED_DOMAINS": "*.example.com"}, "OAUTH_CORP_ALLOWED_DOMAINS"),
        (CORP | {"OAUTH_CORP_ALLOWED_DOMAINS": "@example.com"}, "OAUTH_CORP_ALLOWED_DOMAINS"),
        (CORP | {"SIGN_IN_ALLOWED_DOMAINS": "BÜCHER.example"}, "SIGN_IN_ALLOWED_DOMAINS"),
        (CORP | {"SIGN_IN_ALLOWED_DOMAINS": ","}, "SIGN_IN_ALLOWED_DOMAINS"),
        (CORP | {"OAUTH_CORP_ALLOWED_EMAILS": "example.com"}, "OAUTH_CORP_ALLOWED_EMAILS"),
        (CORP | {"OAUTH_CORP_ALLOWED_EMAILS": "*"}, "OAUTH_CORP_ALLOWED_EMAILS"),
        (CORP | {"OAUTH_CORP_ALLOWED_GROUPS": "*"}, "OAUTH_CORP_ALLOWED_GROUPS"),
        (CORP | {"OAUTH_CORP_ALLOWED_ORGS": "acme"}, "OAUTH_CORP_ALLOWED_ORGS"),
        (CORP | {"OAUTH_CORP_HOSTED_DOMAIN": "example.com"}, "OAUTH_CORP_HOSTED_DOMAIN"),
        (CORP | {"OAUTH_CORP_TRUST_EMAIL": "maybe"}, "OAUTH_CORP_TRUST_EMAIL"),
        (ENTRA | {"OAUTH_CORP_TRUST_EMAIL": "1"}, "OAUTH_CORP_TRUST_EMAIL"),
        (PLAIN_ENTRA | {"OAUTH_CORP_TRUST_EMAIL": "1"}, "OAUTH_CORP_TRUST_EMAIL"),
        (ENTRA | {"OAUTH_CORP_STAFF_GROUPS": f"{GROUP_ID}, admins"}, "OAUTH_CORP_STAFF_GROUPS"),
        (ENTRA | {"OAUTH_CORP_SUPERUSER_GROUPS": "admins"}, "OAUTH_CORP_SUPERUSER_GROUPS"),
        (GITHUB | {"OAUTH_GITHUB_TRUST_EMAIL": "1"}, "OAUTH_GITHUB_TRUST_EMAIL"),
        (GITHUB | {"OAUTH_GITHUB_ALLOWED_ORGS": "acme/dev"}, "OAUTH_GITHUB_ALLOWED_ORGS"),
        (GITHUB | {"OAUTH_GITHUB_ALLOWED_TEAMS": "acme"}, "OAUTH_GITHUB_ALLOWED_TEAMS"),
        (GITHUB | {"OAUTH_GITHUB_GROUPS_CLAIM": "teams"}, "OAUTH_GITHUB_GROUPS_CLAIM"),
        (GOOGLE | {"OAUTH_GOOGLE_ALLOWED_GROUPS": "a"}, "OAUTH_GOOGLE_ALLOWED_GROUPS"),
        (GOOGLE | {"OAUTH_GOOGLE_STAFF_GROUPS": "a"}, "OAUTH_GOOGLE_STAFF_GROUPS"),
        (GOOGLE | {"SIGN_IN_ALLOWED_GROUPS": "a"}, "SIGN_IN_ALLOWED_GROUPS"),
        (GOOGLE | {"OAUTH_GOOGLE_HOSTED_DOMAIN": "*"}, "OAUTH_GOOGLE_HOSTED_DOMAIN"),
        (APPLE | {"OAUTH_CORP_SUPERUSER_GROUPS": "a"}, "OAUTH_CORP_SUPERUSER_GROUPS"),
        (
            GOOGLE | {"UPSTREAM_X_PROVIDER": "google", "UPSTREAM_X_ALLOWED_GROUPS": "a"},
            "UPSTREAM_X_ALLOWED_GROUPS",
        ),
        (
            CORP | {"OAUTH_CORP_ALLOWED_GROUPS": ",".join(map(str, range(101)))},
            "OAUTH_CORP_…_GROUPS",
        ),
    ],
)
def test_invalid_list_is_an_error_that_names_the_variable(
    variables: dict[str, str], named: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"^{named} "):
        providers_configuration.read_providers(variables)


@each_case(
    ("variables", "named"),
    [
        (GOOGLE, "OAUTH_GOOGLE_ALLOWED_DOMAINS is missing"),
        (GITHUB, "OAUTH_GITHUB_ALLOWED_DOMAINS is missing"),
        (APPLE, "OAUTH_CORP_ALLOWED_DOMAINS is missing"),
        (ENTRA, "OAUTH_CORP_ALLOWED_DOMAINS is missing"),
        (PLAIN, "OAUTH_CORP_ALLOWED_DOMAINS is missing"),
        (PLAIN_ENTRA, "OAUTH_CORP_ALLOWED_DOMAINS is missing"),
        (CORP | GOOGLE | {"OAUTH_CORP_ALLOWED_DOMAINS": "*"}, "OAUTH_GOOGLE_ALLOWED_DOMAINS"),
        (
            CORP | GITHUB | {"SIGN_IN_ALLOWED_DOMAINS": "*", "SIGN_IN_ALLOWED_GROUPS": "a"},
            "SIGN_IN_ALLOWED_GROUPS needs a single provider",
        ),
    ],
)
def test_gateway_does_not_start_open_to_the_world_unless_configured(
    variables: dict[str, str], named: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match=named):
        local(**variables)


@pytest.mark.parametrize(
    "variables",
    [
        GOOGLE | {"SIGN_IN_ALLOWED_DOMAINS": "*"},
        GOOGLE | {"OAUTH_GOOGLE_HOSTED_DOMAIN": "example.com"},
        GITHUB | {"OAUTH_GITHUB_ALLOWED_TEAMS": "acme/dev"},
        ENTRA | {"OAUTH_CORP_ALLOWED_GROUPS": GROUP_ID},
    ],
)
def test_any_list_is_enough_and_a_star_allows_everybody(variables: dict[str, str]) -> None:
    assert local(**variables)["OPEN_PROVIDERS"] == []


@pytest.mark.parametrize(("at", "group"), [(ENTRA, GROUP_ID), (TENANT, "admins")])
def test_rights_need_group_ids_only_at_shared_issuers(at: dict[str, str], group: str) -> None:
    (found,) = admissions(at | {"OAUTH_CORP_STAFF_GROUPS": group}).values()
    assert found.staff_groups == frozenset({group})


@pytest.mark.parametrize("variables", [CORP, TENANT])
def test_check_warns_of_a_provider_without_a_list(
    settings: Settings, variables: dict[str, str]
) -> None:
    found = local(**variables)
    settings.OPEN_PROVIDERS = found["OPEN_PROVIDERS"]
    (warning,) = [
        each for each in run_checks(tags=[Tags.security]) if each.id == "gateway_site.W008"
    ]
    assert "corp" in warning.msg


def test_contact_is_a_setting() -> None:
    assert production(SIGN_IN_CONTACT="it@example.com")["SIGN_IN_CONTACT"] == "it@example.com"


def test_every_code_is_described() -> None:
    page = (ROOT / "docs/who-may-sign-in.md").read_text(encoding="utf-8")
    codes = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")}
    assert {each.value for each in Refusal} == {code for code in codes if code.islower()}


MCP = {"UPSTREAM_NOTES_MCP": "https://mcp.example.com", "UPSTREAM_NOTES_ALLOWED_GROUPS": "Acme/Ops"}


@pytest.mark.parametrize(("provider", "group"), [(CORP, "Acme/Ops"), (GITHUB, "acme/ops")])
def test_groups_of_an_mcp_server_are_those_of_the_only_provider(
    provider: dict[str, str], group: str
) -> None:
    (admission,) = admissions(provider | MCP).values()
    assert admission.upstream_groups == {group}
    upstream = read_upstreams(provider | MCP)["notes"]
    assert upstream.allows([group])
    assert not upstream.allows(["other"])


def test_groups_of_an_mcp_server_need_a_single_provider_that_has_groups() -> None:
    two = CORP | GITHUB | MCP
    providers = providers_configuration.read_providers(two)
    with pytest.raises(ImproperlyConfigured, match="NOTES_ALLOWED_GROUPS needs a single provider"):
        require_rules(two, providers)
    with pytest.raises(ImproperlyConfigured, match="NOTES_ALLOWED_GROUPS cannot be used: Google"):
        admissions(GOOGLE | MCP)


RULE = '[[rule]]\naction = "deny"\ngroups = ["Acme/Ops"]\n'


@pytest.mark.parametrize("address", ["URL", "MCP"])
def test_groups_of_a_policy_file_are_stored_at_sign_ins(address: str, tmp_path: Path) -> None:
    """Otherwise nobody would have them, and the rule would deny nobody."""
    path = tmp_path / "rules.toml"
    path.write_text(RULE)
    upstream = {f"UPSTREAM_NOTES_{address}": "https://mcp.example.com"}
    if address == "URL":
        upstream["UPSTREAM_NOTES_PROVIDER"] = "corp"
    loaded = local(**CORP, **upstream, UPSTREAM_NOTES_POLICY_FILE=str(path))
    (provider,) = loaded["OAUTH_PROVIDERS"]
    assert provider.settings["admission"] == {"upstream_groups": ["Acme/Ops"]}


def test_groups_of_a_policy_file_are_those_of_its_upstreams_provider() -> None:
    variables = CORP | GITHUB | {"UPSTREAM_NOTES_PROVIDER": "corp"}
    found = providers_configuration.read_providers(variables, None, {"notes": frozenset({"a"})})
    stored = {each.name: each.settings.get("admission", {}) for each in found}
    assert stored == {"corp": {"upstream_groups": ["a"]}, "github": {}}


@each_case(
    ("variables", "group", "problem"),
    [
        (GITHUB, "Acme/Ops", "'Acme/Ops' must be like acme or acme/operators"),
        (GITHUB, "a/b/c", "'a/b/c' must be like acme or acme/operators"),
        (GOOGLE, "a", "groups cannot be used: Google sends no groups"),
        (CORP | GITHUB, "a", "a rule with groups needs a single provider"),
    ],
)
def test_group_of_a_policy_file_that_nobody_can_have_is_an_error(
    variables: dict[str, str], group: str, problem: str
) -> None:
    declared = variables | {"UPSTREAM_NOTES_MCP": "https://mcp.example.com"}
    groups = {"notes": frozenset({group}), "other": frozenset[str]()}
    with pytest.raises(ImproperlyConfigured, match=f"^UPSTREAM_NOTES_POLICY_FILE: {problem}"):
        require_rules(
            declared, providers_configuration.read_providers(declared, None, groups), groups
        )
