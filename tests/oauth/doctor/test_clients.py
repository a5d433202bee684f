"""Findings of `check_providers` about OAuth clients, with one fault at a time."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from pytest_django import Settings

from oauth.clients.server import AuthorizationServer
from oauth.doctor import clients
from oauth.network.vetted_addresses import ANYWHERE
from oauth.provider.config import ProviderConfig
from sessions_kms.doctor.finding import Finding
from tests.sessions_kms.support.stacks import Stack
from tests.support.http_server import QuietHandler, serve_handler


@dataclass
class Site:
    """What a gateway answers under its issuer's address."""

    issuer: str = ""
    documents: dict[str, Any] = field(default_factory=dict)

    def server(self, **changes: Any) -> AuthorizationServer:
        known: dict[str, Any] = {"issuer": self.issuer, "upstreams": {"tools": "corp"}}
        return AuthorizationServer(**known | changes)


@pytest.fixture
def site() -> Iterator[Site]:
    found = Site()

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            document = found.documents.get(self.path)
            self.respond(404 if document is None else 200, json.dumps(document).encode())

    with serve_handler(Handler) as found.issuer:
        found.documents = {
            clients.METADATA: {"issuer": found.issuer},
            f"{clients.RESOURCE}/gateway/tools": {"resource": f"{found.issuer}/gateway/tools"},
        }
        yield found


def look(server: AuthorizationServer, *providers: ProviderConfig) -> dict[str, Finding]:
    return {each.name: each for each in clients.examine_clients(server, providers)}


def test_correct_gateway_passes(site: Site) -> None:
    found = look(site.server())
    assert {name: each.level for name, each in found.items()} == {
        "issuer": "ok",
        "resource tools": "ok",
    }


@pytest.mark.parametrize(
    ("documents", "said"),
    [
        ({clients.METADATA: None}, "404"),
        ({clients.METADATA: {"issuer": "https://other.example"}}, "another server"),
        ({clients.METADATA: ["no object"]}, "cannot be fetched"),
    ],
)
def test_missing_or_different_issuer_fails(
    site: Site, documents: dict[str, Any], said: str
) -> None:
    site.documents |= documents
    found = look(site.server())
    assert (found["issuer"].level, found["resource tools"].level) == ("failing", "ok")
    assert said in found["issuer"].detail
    assert "PUBLIC_URL" in found["issuer"].remedy


def test_unreachable_issuer_fails(site: Site) -> None:
    found = look(site.server(issuer="http://127.0.0.1:9"))
    assert {each.level for each in found.values()} == {"failing"}


def test_different_resource_fails(site: Site) -> None:
    site.documents[f"{clients.RESOURCE}/gateway/tools"] = {"resource": f"{site.issuer}/tools"}
    assert look(site.server())["resource tools"].level == "failing"


def test_missing_egress_is_reported_only_if_documents_are_fetched(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "DOCUMENTS", (f"{site.issuer}/nothing",))  # not in the Internet
    assert "egress" not in look(site.server())
    found = look(site.server(metadata_documents=True))["egress"]
    assert (found.level, "CLIENTS_FILE" in found.remedy) == ("warning", True)
    monkeypatch.setattr(clients, "PUBLIC", ANYWHERE)  # any response shows that there is a way
    assert look(site.server(metadata_documents=True))["egress"].level == "ok"


def test_githubs_limit_of_ten_tokens_is_reported_if_clients_use_it(site: Site) -> None:
    github, other = (
        ProviderConfig(
            name=name, kind=kind, label=name, client_id="x", client_secret="x", issuer=None
        )
        for name, kind in (("gh", "github"), ("corp", "openid_connect"))
    )
    assert "tokens of gh" not in look(site.server(), github, other)
    found = look(site.server(upstreams={"tools": "gh"}), github, other)
    assert found["tokens of gh"].level == "warning"
    assert "ten tokens" in found["tokens of gh"].detail
    assert "tokens of corp" not in found


def test_command_reports_client_checks_and_their_failures(
    site: Site, store: Stack, settings: Settings
) -> None:
    settings.SOCIALACCOUNT_PROVIDERS = {}
    settings.AUTHORIZATION_SERVER = site.server()
    out = StringIO()
    call_command("check_providers", "--json", stdout=out)
    assert [each["level"] for each in json.loads(out.getvalue())["clients"]] == ["ok", "ok"]
    site.documents.clear()
    with pytest.raises(SystemExit) as ended:
        call_command("check_providers", stdout=out)
    assert ended.value.code == 1
    assert "OAuth clients" in out.getvalue()
