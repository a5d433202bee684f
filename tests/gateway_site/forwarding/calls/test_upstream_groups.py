"""Upstreams that only some groups may call: the list shows them to those, and to no others."""

from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from gateway_site.policy.in_force import RulesInForce
from gateway_site.rules.upstream import read_upstreams
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor, configure, environment

# The gateway admits the call in a thread of its own, which sees what is committed.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def calls(corp: FakeProvider, settings: Settings) -> list[bool]:
    """Declare two upstreams, one for the operators; return what is noted of calls."""
    variables = {
        "UPSTREAM_PEOPLE_URL": corp.issuer,
        "UPSTREAM_PEOPLE_PROVIDER": "corp",
        "UPSTREAM_OPS_URL": corp.issuer,
        "UPSTREAM_OPS_PROVIDER": "corp",
        "UPSTREAM_OPS_PATHS": "/ops",
        "UPSTREAM_OPS_ALLOWED_GROUPS": "operators, Domain Admins",
    }
    configure(settings, environment("corp", corp) | variables)
    settings.UPSTREAMS = read_upstreams(variables)
    called: list[bool] = []
    corp.hooks["/ops"] = lambda: called.append(True)
    corp.failing["/ops"] = lambda: (200, "text/plain", b"the upstream's answer")
    return called


@pytest.fixture
def calls_under_rules(corp: FakeProvider, settings: Settings, tmp_path: Path) -> list[bool]:
    """Declare an upstream with rules for groups; return what is noted of calls."""
    file = tmp_path / "policy.toml"
    file.write_text(
        '[[rule]]\naction = "allow"\ngroups = ["sales"]\n'
        '[[rule]]\naction = "deny"\ngroups = ["interns"]\n'
    )
    variables = {
        "UPSTREAM_OPS_URL": corp.issuer,
        "UPSTREAM_OPS_PROVIDER": "corp",
        "UPSTREAM_OPS_PATHS": "/ops",
        "UPSTREAM_OPS_POLICY_FILE": str(file),
    }
    settings.UPSTREAMS = read_upstreams(variables)
    settings.UPSTREAM_RULES = RulesInForce(settings.UPSTREAMS.values(), ())
    named = settings.UPSTREAM_RULES.groups
    configure(settings, environment("corp", corp) | variables, policy_groups=named)
    called: list[bool] = []
    corp.hooks["/ops"] = lambda: called.append(True)
    return called


def listed_upstreams(visitor: Visitor) -> list[str]:
    found: list[str] = visitor.client.get("/gateway/").json()["upstreams"]
    return found


def try_call(visitor: Visitor) -> str:
    """Call it as a browser does, through the whole gateway."""
    response: Any = visitor.client.get("/try/ops/", headers={"Host": "testserver"})
    page: str = response.content.decode()
    return page


@pytest.mark.parametrize(
    ("groups", "may"),
    [(["Domain Admins"], True), (["operators2"], False), ([], False), (None, False)],
)
def test_only_groups_that_are_named_call_it_and_see_it(
    corp: FakeProvider, visitor: Visitor, calls: list[bool], groups: object, may: bool
) -> None:
    corp.more_of_id_token = {} if groups is None else {"groups": groups}
    visitor.sign_in(corp)

    assert listed_upstreams(visitor) == (["ops", "people"] if may else ["people"])
    assert ("/try/ops/" in visitor.client.get("/").content.decode()) is may
    page = try_call(visitor)
    assert ("the upstream&#x27;s answer" in page, bool(calls)) == (may, may)
    if not may:
        assert "403" in page
        assert "Your groups at corp do not let you call this upstream." in page


def test_groups_from_a_refresh_are_used(
    corp: FakeProvider, visitor: Visitor, calls: list[bool]
) -> None:
    corp.more_of_id_token = {"groups": ["operators"]}
    visitor.sign_in(corp)
    assert listed_upstreams(visitor) == ["ops", "people"]
    corp.more_of_id_token = {"groups": ["canteen"]}
    corp.clock.now += 3600  # type: ignore[attr-defined]
    assert "Your groups at corp do not let you call this upstream." in try_call(visitor)
    assert calls == []
    assert listed_upstreams(visitor) == ["people"]


@pytest.mark.parametrize(
    ("groups", "may"),
    [(["sales"], True), (["sales", "interns"], False), (["canteen"], False), ([], False)],
)
def test_groups_that_only_rules_name_come_from_the_sign_in(
    corp: FakeProvider,
    visitor: Visitor,
    calls_under_rules: list[bool],
    groups: list[str],
    may: bool,
) -> None:
    corp.more_of_id_token = {"groups": groups}
    visitor.sign_in(corp)
    page = try_call(visitor)
    assert bool(calls_under_rules) is may
    assert ("The rules of this upstream do not allow this." in page) is not may


def test_who_holds_no_token_of_the_provider_sees_none_of_its_guarded_upstreams(
    visitor: Visitor, calls: list[bool], other: FakeProvider
) -> None:
    other.more_of_id_token = {"groups": ["operators"]}
    visitor.sign_in(other, "other")
    assert listed_upstreams(visitor) == ["people"]
