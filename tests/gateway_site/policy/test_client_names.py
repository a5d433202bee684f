"""The names of a client, by the labels of its grant's session, in which long ids are digests."""

from gateway_site.policy.client_names import list_client_names, name_client
from oauth.clients.consent import Consent, make_labels
from oauth.clients.rules.client import Client, Source, document_host, is_document_url
from oauth.clients.server import AuthorizationServer
from tests.support.cases import each_case

PINNED, LONG_PINNED = (f"https://pinned.example/{path}" for path in ("a", "a" * 200))
LONG = "own-" * 50
IDS = ("own", LONG, PINNED, LONG_PINNED)
SERVER = AuthorizationServer(
    issuer="https://gateway.example",
    upstreams={},
    listed={each: Client(each, "A", (), Source.OPERATOR) for each in IDS},
)


@each_case(
    ("client_id", "name", "more"),
    [
        ("own", "own", set()),
        (LONG, LONG, set()),
        (PINNED, PINNED, {"pinned.example"}),
        (LONG_PINNED, LONG_PINNED, {"pinned.example"}),
        ("https://app.example/a", "app.example", set()),
        (f"https://app.example/{'a' * 200}", "app.example", set()),
        ("https://pinned.example/b", "pinned.example", set()),
        ("dcr.own", "unverified", set()),
        (f"dcr.{'a' * 200}", "unverified", set()),
        ("own2", "unverified", set()),
    ],
)
def test_client_is_known_by_its_id_or_the_host_of_its_document(
    client_id: str, name: str, more: set[str]
) -> None:
    consent = Consent(
        client_id=client_id,
        client_name="own",
        client_host=document_host(client_id) if is_document_url(client_id) else None,
        redirect_uri="https://own/",
        upstream="own",
        resource="",
        scope="",
        challenge="",
    )
    labels = make_labels(consent, "own")
    assert name_client(labels, SERVER) == name
    assert list_client_names(labels, SERVER) == {name, *more}


def test_session_without_labels_is_of_no_verified_client() -> None:
    assert list_client_names({}, SERVER) == {"unverified"}
