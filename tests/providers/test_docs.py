"""The settings in docs/providers.md are accepted, and have the documented effect."""

import re

from gateway_site.providers.configuration import read_providers
from gateway_site.providers.provider_types import ProviderConfig
from tests import ROOT
from tests.providers.stubs import ALL, Stub
from tests.support.cases import each_case

PAGE = (ROOT / "docs/providers.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```\n(OAUTH_.*?)^```", re.MULTILINE | re.DOTALL)
VARIABLE = re.compile(r"(OAUTH_[A-Z0-9_]+)=(.+)")
TENANT = "aaaabbbb-0000-cccc-1111-dddd2222eeee"


def blocks() -> list[dict[str, str]]:
    """Return the variables of each block, placeholders filled in."""
    text = PAGE.replace("<Directory (tenant) ID>", TENANT)
    return [dict(VARIABLE.findall(block)) for block in BLOCK.findall(text)]


def documented_providers() -> dict[str, ProviderConfig]:
    found: dict[str, ProviderConfig] = {}
    for variables in blocks():
        if any(name.endswith("_CLIENT_ID") for name in variables):
            (provider,) = read_providers(variables)
            found.setdefault(provider.name, provider)
    return found


def test_every_block_is_accepted() -> None:
    assert sorted(documented_providers()) == [
        *("apple", "auth0", "cognito", "corp", "entra", "ghe", "github", "gitlab", "google", "okta")
    ]


def test_addresses_for_containers_are_accepted() -> None:
    """They go with the block before them."""
    issuer = next(each for each in blocks() if "realms" in each.get("OAUTH_CORP_ISSUER", ""))
    internal = next(each for each in blocks() if "OAUTH_CORP_TOKEN_URL" in each)
    (provider,) = read_providers(issuer | internal)
    assert provider.settings["allow_http"] is True


@each_case("kind", ALL)
def test_stub_is_configured_as_documented(kind: type[Stub]) -> None:
    """Otherwise the stubs would show something else than what people set."""
    said = documented_providers()[kind.name]
    own = {"CLIENT_ID": "c", "CLIENT_SECRET": "s"} | kind.variables
    prefix = f"OAUTH_{kind.name.upper()}_"
    if kind.name == "apple":
        assert said.settings["apple_team_id"]
        return
    (provider,) = read_providers({prefix + name: value for name, value in own.items()})
    assert provider.form_action == said.form_action
    assert provider.auth_params == said.auth_params
    assert set(provider.settings) - {"allowed_tenants"} == set(said.settings)
