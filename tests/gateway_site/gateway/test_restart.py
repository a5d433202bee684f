"""A gateway that is killed in the middle of a stream: the client goes on where it was."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.e2e.stack import LocalStack
from tests.local.running import ROOT, free_ports, running

SIGN_IN = """
import time
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from oauth import session as held
from oauth.tokens import TokenSet
from sessions_kms.backend import SessionStore
user = User.objects.create_user("somebody")
session = SessionStore()
session[SESSION_KEY] = str(user.pk)
session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
session[HASH_SESSION_KEY] = user.get_session_auth_hash()
held.store(session, "local", TokenSet(access_token="a-token", token_type="Bearer", scope=(),
           subject="1", client_id="gateway", issued_at=int(time.time())))
session.save()
print("\\n" + session.session_key)
"""


class Reader:
    """A reader of events as browsers' EventSource is: it knows the last event's number."""

    def __init__(self, url: str, session_key: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.cookies.set("gateway_sessionid", session_key)
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
def test_client_reconnects_with_its_last_event_and_the_same_session(tmp_path: Path) -> None:
    stack = LocalStack(tmp_path / "state")
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tests.gateway_site.gateway.upstream", str(port)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    declared = {
        "UPSTREAM_FEED_URL": f"http://127.0.0.1:{port}",
        "UPSTREAM_FEED_PROVIDER": "local",
    }
    with running(command, environment, tmp_path / "upstream.log", port):
        with stack.running(**declared) as process:
            signed_in = stack.manage("shell", "-c", SIGN_IN)
            assert signed_in.returncode == 0, signed_in.stderr
            key = signed_in.stdout.split()[-1]
            reader = Reader(f"{stack.url}/gateway/feed/events?count=3", key)
            events = reader.events()
            assert [next(events) for _ in range(3)] == ["1", "2", "3"]
            stack.kill_everything(process)
            with pytest.raises(requests.exceptions.RequestException):
                next(events)
        with stack.running(**declared):
            assert next(reader.events()) == "4"
            assert reader.session.cookies["gateway_sessionid"] == key
