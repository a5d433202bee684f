"""Consent of a visitor to an app."""

import html
import re
from typing import Any

from tests.oauth.clients.support.app import ISSUER, App, WayBack
from tests.oauth.support.connecting import ONWARD, query_of
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.mcp_server import (
    McpResource,
)
from tests.oauth.support.shown import shown_fields

TYPED = {"sec-fetch-site": "none"}  # of an address that was typed, or opened by a program


def decide(visitor: Visitor, address: str, decision: str = "allow") -> Any:
    return visitor.client.post(address, {"decision": decision} | shown_fields(visitor.user_id))


def allow(visitor: Visitor, app: App, at: FakeProvider) -> Any:
    """Consent, go to the provider and come back; the response is the callback's."""
    led = decide(visitor, app.address())
    assert led.status_code == 302, led.content
    return visitor.client.get(at.consent(led["Location"]))


RESOURCE = f"{ISSUER}/gateway/notes"

HIDDEN = re.compile(r'<input type="hidden" name="((?:issuer|scope)-[a-z]+)" value="([^"]*)">')


class Consent:
    """A person who reads the consent page of an app and confirms what it says."""

    def __init__(self, person: Visitor, app: App, **changes: str | None) -> None:
        self.person, self.app = person, app
        self.address = app.address(**{"resource": RESOURCE, **changes})
        self.page = self.read(person.client.get(self.address))

    @staticmethod
    def read(response: Any) -> str:
        assert response.status_code == 200, response.content
        return " ".join(response.content.decode().split())

    @property
    def named(self) -> dict[str, str]:
        return {name: html.unescape(value) for name, value in HIDDEN.findall(self.page)}

    def confirm(self, **form: str) -> Any:
        """Allow what the page said."""
        sent = {"decision": "allow", **self.named, **shown_fields(self.person.user_id), **form}
        return self.person.client.post(self.address, sent)

    def go_on(self, **form: str) -> str:
        """Confirm, twice if the page has more to say; return the authorization request."""
        response = self.confirm(**form)
        if (found := ONWARD.search(response.content.decode())) is None:
            self.page = self.read(response)
            response = self.confirm(**form)
            found = ONWARD.search(response.content.decode())
        assert found is not None, response.content.decode()
        return html.unescape(found[1])

    def allow(self, notes: McpResource, **form: str) -> dict[str, Any]:
        """Go through the whole flow; return the tokens of the app."""
        back = self.person.client.get(notes.authorization.consent(self.go_on(**form)))
        way = WayBack.of(back)
        assert way.is_led
        response = self.app.redeem(way.response["code"], resource=RESOURCE)
        assert response.status_code == 200, response.content
        return dict(response.json())


def scope_of(address: str) -> set[str]:
    return set(query_of(address).get("scope", "").split())
