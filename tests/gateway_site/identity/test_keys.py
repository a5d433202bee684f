"""The key files of an operator, and the settings that are made of them."""

import json
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from pytest_django import Settings

from gateway_site import checks
from gateway_site.environment.variable import InvalidValue
from gateway_site.identity.keys import KeySet, load_public_key, load_signing_key
from gateway_site.identity.token import Call, TokenIssuer
from gateway_site.rules.upstream import read_upstreams
from tests.gateway_site.support.loading import production
from tests.support.cases import each_case
from tests.support.keys import write_key, write_public_key

P_256 = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
WHO = {
    "UPSTREAM_WHO_URL": "https://who.example.com/v1",
    "UPSTREAM_WHO_PROVIDER": "corp",
    "UPSTREAM_WHO_TOKEN": "identity",
}
PUBLIC = {"PUBLIC_URL": "https://gateway.example.com"}


@each_case(("key", "algorithm"), [(P_256, "ES256"), (RSA, "RS256")])
def test_key_signs_with_the_only_algorithm_of_its_type(
    key: PrivateKeyTypes, algorithm: str, tmp_path: Path
) -> None:
    path = write_key(tmp_path / "key.pem", key)
    call = Call(audience="a", provider="corp", subject="1|2", client_id="gateway", claims={})
    token = TokenIssuer("https://g.example", load_signing_key(path)).make_token(call, 1_000_000)
    public = load_public_key(write_public_key(tmp_path / "public.pem", key))
    assert public == load_public_key(path)
    assert not {"d", "p", "q", "k"} & public.keys()
    assert (public["alg"], public["use"]) == (algorithm, "sig")
    header = jwt.get_unverified_header(token)
    assert header == {"typ": "at+jwt", "alg": algorithm, "kid": public["kid"]}
    key_of = jwt.PyJWK(dict(public))
    found = jwt.decode(token, key_of, [algorithm], {"verify_exp": False}, audience="a")
    assert (found["sub"], found["iat"], found["exp"]) == ("corp|1|2", 999_990, 1_000_060)
    assert "nbf" not in found


def test_key_id_is_the_thumbprint_of_the_rfc(tmp_path: Path) -> None:
    # RFC 7638 section 3.1.
    number = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJE"
        "CPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2"
        "QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQF"
        "h6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    public = jwt.PyJWK({"kty": "RSA", "e": "AQAB", "n": number}, "RS256").key
    path = write_public_key(tmp_path / "rfc.pem", public)
    assert load_public_key(path)["kid"] == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@each_case(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP256K1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(public_exponent=65537, key_size=1024),  # noqa: S505 - too short
    ],
)
def test_key_of_another_type_is_a_configuration_error(key: PrivateKeyTypes, tmp_path: Path) -> None:
    path = write_key(tmp_path / "key.pem", key)
    for load in (load_signing_key, load_public_key):
        with pytest.raises(InvalidValue, match="P-256, or an RSA key with 2048 to 8192 bits"):
            load(path)
    with pytest.raises(InvalidValue, match="P-256"):
        load_public_key(write_public_key(tmp_path / "public.pem", key))


def test_file_without_a_usable_key_is_a_configuration_error(tmp_path: Path) -> None:
    locked = write_key(tmp_path / "locked.pem", P_256, password=b"secret")
    public = write_public_key(tmp_path / "public.pem", P_256)
    (empty := tmp_path / "empty.pem").write_text("")
    two = Path(write_key(tmp_path / "two.pem", P_256))
    two.write_text(two.read_text() + Path(write_public_key(tmp_path / "rsa.pem", RSA)).read_text())
    for name in ("IDENTITY_KEY_FILE", "IDENTITY_PUBLISHED_KEY_FILES"):
        with pytest.raises(ImproperlyConfigured, match="must name a PEM file with a single key"):
            production(**{name: str(two)})
    (cut := tmp_path / "cut.pem").write_text("-----BEGIN PRIVATE KEY-----\nMIGH\n")
    for path in (locked, public, str(empty), str(cut)):
        with pytest.raises(ImproperlyConfigured, match=r"^IDENTITY_KEY_FILE must name a PEM"):
            production(IDENTITY_KEY_FILE=path)
    with pytest.raises(ImproperlyConfigured, match=r"^IDENTITY_KEY_FILE: file not found"):
        production(IDENTITY_KEY_FILE=str(tmp_path / "absent.pem"))
    listed = f"{public},{locked}"
    with pytest.raises(ImproperlyConfigured, match="PUBLISHED_KEY_FILES: file 2 must name a PEM"):
        production(IDENTITY_PUBLISHED_KEY_FILES=listed)


def test_key_set_names_each_key_once_and_the_signing_one_first(tmp_path: Path) -> None:
    signing = write_key(tmp_path / "signing.pem", RSA)
    public = write_public_key(tmp_path / "next.pem", P_256)
    same = write_public_key(tmp_path / "same.pem", RSA)
    former = write_public_key(tmp_path / "former.pem", ec.generate_private_key(ec.SECP256R1()))
    published = f"{public}, {same},{public},{former}"
    loaded = production(IDENTITY_KEY_FILE=signing, IDENTITY_PUBLISHED_KEY_FILES=published)
    keys = loaded["IDENTITY_KEYS"].to_document()["keys"]
    assert [each["kty"] for each in keys] == ["RSA", "EC", "EC"]
    # None takes the place of another of its type, which verifiers still need.
    assert keys == [load_public_key(each) for each in (signing, public, former)]
    assert loaded["IDENTITY_TOKENS"] is None  # no upstream gets such a token
    assert production()["IDENTITY_KEYS"].to_document() is None
    shown = repr(loaded["IDENTITY_KEYS"])
    assert "PrivateKey" not in shown
    assert str(RSA.private_numbers().d) not in shown


@each_case(
    ("more", "message"),
    [
        ({}, "^IDENTITY_KEY_FILE is missing: UPSTREAM_WHO_TOKEN=identity needs it"),
        ({"UPSTREAM_WHO_MCP": "https://x.example/mcp"}, "PROVIDER cannot be set|URL cannot be set"),
        ({"UPSTREAM_WHO_RESOURCE": "https://x.example"}, "RESOURCE cannot be set beside"),
        ({"UPSTREAM_WHO_TOKEN": "provider", "UPSTREAM_WHO_AUDIENCE": "who"}, "has no effect"),
        ({"UPSTREAM_WHO_TOKEN": "", "UPSTREAM_WHO_CLAIMS": "email"}, "has no effect"),
        ({"UPSTREAM_WHO_TOKEN": "Identity"}, "must be one of these: provider, identity"),
        ({"UPSTREAM_WHO_CLAIMS": "email,phone"}, "must be some of these: email, name, groups"),
        ({"UPSTREAM_WHO_AUDIENCE": "two words"}, "must be one word"),
        ({"UPSTREAM_WHO_PROVIDER": ""}, "PROVIDER is missing"),
    ],
)
def test_gateway_does_not_start_with_such_variables(more: dict[str, str], message: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=message):
        production(**PUBLIC, **WHO | more)


def test_connected_mcp_server_gets_no_token_of_the_gateway() -> None:
    variables = {"UPSTREAM_WHO_MCP": "https://x.example/mcp", "UPSTREAM_WHO_TOKEN": "identity"}
    with pytest.raises(ImproperlyConfigured, match="TOKEN cannot be identity beside"):
        read_upstreams(variables)


def test_gateway_does_not_start_without_an_issuer(tmp_path: Path) -> None:
    key = {"IDENTITY_KEY_FILE": write_key(tmp_path / "key.pem", P_256)}
    with pytest.raises(ImproperlyConfigured, match="needs PUBLIC_URL"):
        production(**WHO, **key)
    for name in ("PUBLIC_URL", "AUTHORIZATION_ISSUER"):
        loaded = production(**WHO, **key, **{name: "https://gateway.example.com"})
        assert loaded["IDENTITY_TOKENS"].issuer == "https://gateway.example.com"


def test_key_set_is_at_its_address_only_if_there_is_a_key(
    client: Client, settings: Settings, tmp_path: Path
) -> None:
    address = "/.well-known/jwks.json"
    assert client.get(address).status_code == 404
    public = load_public_key(write_public_key(tmp_path / "key.pem", P_256))
    settings.IDENTITY_KEYS = KeySet(None, (public,))
    response = client.get(address)
    assert (response.status_code, response.json()) == (200, {"keys": [public]})
    assert response["Content-Type"] == "application/json"


def test_listed_client_cannot_have_the_id_of_browsers(tmp_path: Path) -> None:
    clients = tmp_path / "clients.json"
    listed = {"client_id": "gateway", "redirect_uris": ["http://127.0.0.1/callback"]}
    clients.write_text(json.dumps([listed]))
    variables = WHO | {"UPSTREAM_WHO_TOKEN": "", "UPSTREAM_WHO_CLIENTS": "1"}
    with pytest.raises(ImproperlyConfigured, match="client id gateway is that of browsers"):
        production(CLIENTS_FILE=str(clients), **PUBLIC, **variables)


def test_equal_audiences_cause_a_warning(settings: Settings) -> None:
    two = {name.replace("WHO", "TWO"): value for name, value in WHO.items()}
    settings.UPSTREAMS = read_upstreams(WHO | two)
    [found] = checks.check_audiences()
    assert found.id == "gateway_site.W012"
    assert "two, who" in found.msg
    settings.UPSTREAMS = read_upstreams(WHO | two | {"UPSTREAM_TWO_AUDIENCE": "two"})
    assert list(checks.check_audiences()) == []
    other = two | {"UPSTREAM_TWO_TOKEN": "provider"}
    settings.UPSTREAMS = read_upstreams(WHO | other)
    assert list(checks.check_audiences()) == []


def test_audience_is_the_url_as_configured() -> None:
    written = WHO | {"UPSTREAM_WHO_URL": "https://WHO.example.com:443/v1/"}
    identity = read_upstreams(written)["who"].identity
    assert identity is not None
    assert identity.audience == "https://WHO.example.com:443/v1/"
