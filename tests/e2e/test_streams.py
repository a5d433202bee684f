"""A gateway that is killed in the middle of a stream: the client continues where it was."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests import ROOT
from tests.e2e.signing_in import sign_in_by_requests
from tests.e2e.stack import LocalStack
from tests.support.processes import running


class Reader:
    """A reader of events as browsers' EventSource is: it knows the last event's number."""

    def __init__(self, url: str, session: requests.Session) -> None:
        self.url = url
        self.session = session
        self.last = ""

    def events(self) -> Iterator[str]:
        headers = {"Last-Event-ID": self.last} if self.last else {}
        with self.session.get(self.url, headers=headers, stream=True, timeout=20) as response:
            assert response.status_code == 200, response.text
            for line in response.iter_lines(chunk_size=1, decode_unicode=True):
                if line.startswith("id: "):
                    self.last = line.removeprefix("id: ")
                    yield self.last


@pytest.mark.stack
@pytest.mark.long
def test_client_reconnects_with_its_last_event_and_the_same_session(
    stack: LocalStack, feed: int, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.gateway_site.support.upstream", str(feed)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    with (
        running(command, environment, tmp_path / "upstream.log", feed),
        sign_in_by_requests(stack) as client,
    ):
        key = client.cookies["gateway_sessionid"]
        reader = Reader(f"{stack.url}/gateway/feed/events?count=3", client)
        events = reader.events()
        assert [next(events) for _ in range(3)] == ["1", "2", "3"]
        stack.kill_everything()
        with pytest.raises(requests.exceptions.RequestException):
            next(events)
        stack.start()
        assert next(reader.events()) == "4"
        assert client.cookies["gateway_sessionid"] == key
