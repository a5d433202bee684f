"""Connections that somebody else than the browser's session began, such as a client's consent."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from allauth.core.exceptions import ImmediateHttpResponse
from django.http import HttpResponse

from oauth.connect import flow
from oauth.tokens import vault
from tests.oauth.support.connecting import Connecting

PENDING = {"client": "an app"}


@pytest.fixture(autouse=True)
def no_other_receivers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the receiver of clients' consents, which is connected once somebody imported it."""
    monkeypatch.setattr(flow.authorized, "receivers", [])


@pytest.fixture
def pending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin connections as a consent does."""
    begin = flow.begin
    monkeypatch.setattr(flow, "begin", lambda *a, **k: begin(*a, **k, pending=PENDING))


@pytest.fixture
def receive() -> Iterator[Callable[[Any], None]]:
    """Connect receivers of the signal."""
    connected = []

    def connect(receiver: Any) -> None:
        flow.authorized.connect(receiver, weak=False)
        connected.append(receiver)

    yield connect
    for each in connected:
        flow.authorized.disconnect(each)


@pytest.mark.usefixtures("pending")
def test_receiver_takes_the_tokens_and_the_session_does_not_get_them(
    notes: Connecting, receive: Callable[[Any], None]
) -> None:
    taken: list[Any] = []

    def take(**more: Any) -> None:
        taken.append((more["token_set"], dict(more["state"].pending), more["server"].name))
        raise ImmediateHttpResponse(HttpResponse("taken"))

    receive(take)
    assert notes.connect().content == b"taken"
    ((token_set, pending, name),) = taken
    assert (pending, name, token_set.resource) == (PENDING, "notes", notes.resource.url)
    assert vault.load_token_set(notes.visitor.session, "notes") is None


@pytest.mark.usefixtures("pending")
def test_connection_that_nobody_takes_is_not_stored(notes: Connecting) -> None:
    assert notes.connect().status_code == 400
    assert vault.load_token_set(notes.visitor.session, "notes") is None


def test_connection_of_the_browser_is_stored_although_a_receiver_hears_of_it(
    notes: Connecting, receive: Callable[[Any], None]
) -> None:
    heard: list[Any] = []
    receive(lambda **more: heard.append(more["state"].pending))
    notes.connect()
    assert heard == [None]
    assert notes.held.groups == ()
