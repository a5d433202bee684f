"""Groups of Entra ID that do not fit into a token are read from Microsoft Graph.

https://learn.microsoft.com/en-us/graph/api/directoryobject-checkmembergroups
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django import Settings

from oauth import access_rule
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.oauth.support.requests import stored_tokens
from tests.support.http_server import QuietHandler, serve_handler

STAFF = "00000000-0000-4000-8000-00000000000a"
OVERAGE = {
    "_claim_names": {"groups": "src1"},
    # An API that has ended, and that no token is sent to.
    "_claim_sources": {
        "src1": {"endpoint": "https://graph.windows.net/t/users/o/getMemberObjects"}
    },
}


class Graph:
    """Graph as one person sees it."""

    def __init__(self, provider: FakeProvider) -> None:
        self.provider = provider
        self.groups = {STAFF}
        self.status = 200
        self.asked: list[list[str]] = []

    def check_member_groups(self, authorization: str, body: dict[str, Any]) -> tuple[int, Any]:
        token = authorization.removeprefix("Bearer ")
        if token not in self.provider.people_of_tokens:
            return 401, {"error": {"code": "InvalidAuthenticationToken"}}
        asked = body["groupIds"]
        self.asked.append(asked)
        if len(asked) > 20:
            return 400, {"error": {"code": "Request_BadRequest"}}
        return self.status, {"value": [each for each in asked if each in self.groups]}


@pytest.fixture
def graph(corp: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> Iterator[Graph]:
    graph = Graph(corp)

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            body = json.loads(self.read_body())
            status: int = 404
            content: Any = {}
            if self.path == "/v1.0/me/checkMemberGroups":
                status, content = graph.check_member_groups(self.headers["Authorization"], body)
            self.respond(status, json.dumps(content).encode())

    with serve_handler(Handler) as address:
        monkeypatch.setattr(access_rule, "GRAPH_OF", {"127.0.0.1": address})
        corp.more_of_id_token = dict(OVERAGE)
        corp.scope = f"openid profile {address}/User.Read"
        yield graph


def sign_in(visitor: Visitor, graph: Graph, settings: Settings, **variables: str) -> Any:
    allowed = {"ALLOWED_GROUPS": STAFF, "ALLOW_PRIVATE": "1"} | variables
    configure(settings, environment("corp", graph.provider, **allowed))
    return visitor.sign_in(graph.provider)


def test_graph_is_queried_for_configured_groups_in_batches_of_twenty(
    graph: Graph, visitor: Visitor, settings: Settings
) -> None:
    more = ",".join(f"00000000-0000-4000-8000-0000000001{number:02}" for number in range(30))
    assert sign_in(visitor, graph, settings, STAFF_GROUPS=more).status_code == 302
    assert [len(asked) for asked in graph.asked] == [20, 11]
    assert stored_tokens(visitor).groups == (STAFF,)


def test_person_in_none_of_the_groups_is_rejected(
    graph: Graph, visitor: Visitor, settings: Settings
) -> None:
    graph.groups = set()
    response = sign_in(visitor, graph, settings)
    assert response.status_code == 403
    assert b">not_allowed_group</code>" in response.content


@pytest.mark.parametrize("why", ["denied", "token_for_another_api", "names_for_ids"])
def test_missing_response_means_no_group(
    graph: Graph, visitor: Visitor, settings: Settings, why: str
) -> None:
    graph.status = 403 if why == "denied" else 200
    if why == "token_for_another_api":
        graph.provider.scope = "openid profile api://app/User.Read"
    variables = {"ALLOWED_GROUPS": "Staff"} if why == "names_for_ids" else {}
    response = sign_in(visitor, graph, settings, **variables)
    assert response.status_code == 403
    assert b">groups_overage</code>" in response.content
    assert len(graph.asked) == (1 if why == "denied" else 0)


def test_outage_of_graph_is_not_a_rejection(
    graph: Graph, visitor: Visitor, settings: Settings
) -> None:
    graph.status = 503
    assert sign_in(visitor, graph, settings).status_code == 503
