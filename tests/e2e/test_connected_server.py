"""A real gateway and an MCP server that nobody registered with, through kills of the gateway."""

import html
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.e2e.signing_in import sign_in_by_requests
from tests.e2e.stack import LocalStack
from tests.local.form import submit
from tests.oauth.support.connecting import ONWARD
from tests.oauth.support.mcp_server import McpResource, serving_mcp
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.stack, pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture
def resource() -> Iterator[McpResource]:
    with serving_mcp() as served:
        yield served


@pytest.fixture
def stack(tmp_path: Path, resource: McpResource) -> Iterator[LocalStack]:
    stack = LocalStack(tmp_path / "state", UPSTREAM_FILES_MCP=resource.url)
    with stack.running():
        yield stack


class Person:
    """A signed-in person with a browser without JavaScript."""

    def __init__(self, stack: LocalStack, resource: McpResource) -> None:
        self.url = stack.url
        self.resource = resource
        self.browser = sign_in_by_requests(stack)

    def get(self, path: str) -> requests.Response:
        return self.browser.get(self.url + path, allow_redirects=False, timeout=60)

    def begin(self) -> str:
        """Begin to connect, and allow it; return the address of the callback."""
        page = submit(self.browser, self.get("/accounts/connect/files/"))
        found = ONWARD.search(page.text)
        assert found is not None, page.text
        return self.resource.authorization.consent(html.unescape(found[1]))

    def back(self, location: str) -> None:
        response = self.browser.get(location, allow_redirects=False, timeout=60)
        assert (response.status_code, response.headers["Location"]) == (302, "/"), response.text

    def call(self) -> requests.Response:
        return self.get("/gateway/files")

    def submit_form(self, path: str) -> None:
        submit(self.browser, self.get(path))


def test_connection_survives_kills_and_ends_with_disconnecting_and_with_the_sign_out(
    stack: LocalStack, resource: McpResource
) -> None:
    person, server = Person(stack, resource), resource.authorization
    assert person.call().json()["code"] == "not_connected"

    location = person.begin()
    stack.kill_everything()
    stack.start()
    person.back(location)
    assert person.call().status_code == 200
    assert_refreshed_and_lost_at_a_kill(stack, resource, person)

    revoked = server.revocations
    person.submit_form("/accounts/connect/files/disconnect/")
    assert [form["token"] for form in revoked][1] == resource.calls[-1]
    assert len(revoked) == 2
    assert person.call().json()["code"] == "not_connected"

    person.back(person.begin())
    assert person.call().status_code == 200
    person.submit_form("/accounts/logout/")
    assert [form["token"] for form in revoked][3] == resource.calls[-1]
    assert person.call().json()["code"] == "signed_out"
    assert len(server.registrations) == 1


def call_until_refused(person: Person) -> None:
    while True:  # until the token has expired again
        person.call()


def assert_refreshed_and_lost_at_a_kill(
    stack: LocalStack, resource: McpResource, person: Person
) -> None:
    server = resource.authorization
    server.expires_in = 2
    person.back(person.begin())
    refreshed = len(server.refreshes)
    wait_until(
        lambda: person.call().status_code == 200 and len(server.refreshes) > refreshed,
        "the token is refreshed",
    )
    killed = threading.Event()

    def kill() -> None:
        if not killed.is_set():
            stack.kill_everything()
            killed.set()

    server.hooks["/token"] = kill
    with pytest.raises(requests.ConnectionError):
        call_until_refused(person)
    assert killed.wait(60)
    stack.start()
    # The server has spent the refresh token, and its response was lost.
    lost = person.call()
    assert (lost.status_code, lost.json()["code"]) == (401, "reauthentication_required")
    server.expires_in = 3600
    person.back(person.begin())
    assert person.call().status_code == 200
