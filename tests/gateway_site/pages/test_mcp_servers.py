"""An MCP server that a person connects, through the whole gateway in this process."""

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from pytest_django import Settings

from tests.gateway_site.support.notes_calls import call_notes, problem_of
from tests.oauth.support.connecting import Connecting, declare
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.oauth.support.mcp_server import McpResource, serving_mcp

# The gateway admits the call in a thread of its own, which sees what is committed.
pytestmark = pytest.mark.django_db(transaction=True)

NAVIGATION = {"sec-fetch-mode": "navigate", "sec-fetch-site": "none", "accept": "text/html"}


@pytest.fixture
def resource() -> Iterator[McpResource]:
    with serving_mcp() as served:
        yield served


@pytest.fixture
def notes(
    corp: FakeProvider, visitor: Visitor, resource: McpResource, settings: Settings
) -> Connecting:
    declare(settings, notes=resource.url)
    visitor.sign_in(corp)
    return Connecting(visitor, resource)


def test_program_is_told_where_to_connect_and_a_person_is_taken_there_and_back(
    notes: Connecting,
) -> None:
    response = call_notes(notes.visitor)
    problem = problem_of(response)
    assert (response.status, problem["code"]) == (401, "not_connected")
    assert problem["connect_url"] == problem["sign_in_url"] == notes.path
    led = call_notes(notes.visitor, **NAVIGATION)
    target = urlsplit(led.headers["location"])
    assert (led.status, target.path) == (302, notes.path)
    back = parse_qs(target.query)["next"][0]
    response = notes.connect(next=back)
    assert response["Location"] == back
    assert "/gateway/notes?a=1" in notes.visitor.client.get(back).content.decode()
    assert call_notes(notes.visitor, **NAVIGATION).status == 200
    assert notes.resource.calls == [notes.held.access_token]


def test_server_that_demands_more_scopes_gets_a_problem_twice_and_then_its_way(
    notes: Connecting,
) -> None:
    notes.connect()
    notes.resource.demanded = "write"
    for _ in range(2):
        response = call_notes(notes.visitor)
        problem = problem_of(response)
        assert (response.status, problem["code"]) == (403, "more_scope")
        assert problem["connect_url"] == notes.path
        notes.connect(scope="write")
    assert notes.held.requested_scope == ("write",)
    passed = call_notes(notes.visitor)
    assert (passed.status, passed.is_problem) == (403, False)
    assert "insufficient_scope" in passed.headers["www-authenticate"]


@pytest.mark.parametrize(
    "variables", [{"UPSTREAM_NOTES_SCOPES": "read"}, {}], ids=["chosen", "another error"]
)
def test_other_403_passes(notes: Connecting, settings: Settings, variables: dict[str, str]) -> None:
    declare(settings, variables, notes=notes.resource.url)
    notes.connect()
    notes.resource.demanded = "write"
    if not variables:
        notes.resource.failing["/mcp"] = lambda: (403, "application/json", b"{}")
    response = call_notes(notes.visitor)
    assert (response.status, response.is_problem) == (403, False)


@pytest.mark.parametrize("group", ["editors", "others"])
def test_groups_are_those_at_the_provider_of_the_sign_in(
    corp: FakeProvider, notes: Connecting, settings: Settings, group: str
) -> None:
    visitor, may = notes.visitor, group == "editors"
    variables = {
        "UPSTREAM_NOTES_MCP": notes.resource.url,
        "UPSTREAM_NOTES_ALLOWED_GROUPS": "editors",
    }
    configure(settings, environment("corp", corp) | variables)
    declare(settings, variables)
    corp.more_of_id_token = {"groups": [group]}
    visitor.sign_in(corp)
    assert (notes.path in visitor.client.get("/").content.decode()) is may
    assert visitor.client.get("/gateway/").json()["upstreams"] == (["notes"] if may else [])
    notes.connect()
    assert call_notes(visitor).status == (200 if may else 403)
    assert bool(notes.resource.calls) is may


def test_page_of_a_trial_call_leads_to_connecting(notes: Connecting) -> None:
    page = notes.visitor.client.get("/try/notes/", headers={"Host": "testserver"}).content.decode()
    assert f'href="{notes.path}?next=%2Ftry%2Fnotes%2F"' in page
    notes.connect()
    page = notes.visitor.client.get("/try/notes/", headers={"Host": "testserver"}).content.decode()
    assert "jsonrpc" in page
    assert notes.held.access_token not in page
