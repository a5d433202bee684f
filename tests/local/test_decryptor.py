"""What a served gateway stores can be read from docs/format.md alone.

People, clients and an operator use real processes over HTTP; then nothing in the table is closed.
"""

import base64
import hashlib
import secrets
import time
from collections.abc import Iterable, Mapping
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import boto3
import pytest
import requests
from botocore.exceptions import ClientError

from tests.e2e.stack import LocalStack
from tests.guides.person import ONWARD, TIMEOUT, sign_in
from tests.local.form import submit
from tests.support.decryptor import Decryptor, kind_of, secrets_in

pytestmark = [pytest.mark.stack, pytest.mark.long]

BACK = "http://127.0.0.1/callback"
NOTES_ACCOUNT = "ada@notes.example"
LIFETIME = "1"  # seconds of the provider's access tokens: each call refreshes
DAY = 86_400
FOREVER = {"N": str(10**11)}


class Person:
    """One browser that runs no scripts, and every session key that it was given."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.browser = requests.Session()
        self.keys: set[str] = set()
        self.browser.hooks["response"] = lambda *_, **__: self.note()
        sign_in(self.browser, url)

    def note(self) -> None:
        found = self.browser.cookies.get_dict().items()
        self.keys |= {key.partition(".")[0] for name, key in found if "gateway_sess" in name}

    def call(self) -> int:
        address = f"{self.url}/gateway/provider/identity/o/api/userinfo"
        return self.browser.get(address, timeout=TIMEOUT).status_code

    def allow(self, page: requests.Response, **answers: str) -> requests.Response:
        """Follow pages and forms until the gateway, or the client, has the answer."""
        for _ in range(5):
            page = submit(self.browser, page, follow=True, timeout=TIMEOUT, **answers)
            page.raise_for_status()
            while onward := ONWARD.search(page.text):
                address = urljoin(page.url, unescape(onward[1]))
                if address.startswith(BACK):
                    return page
                page = self.browser.get(address, timeout=TIMEOUT)
            if page.url == f"{self.url}/":
                return page
        raise AssertionError(page.text)

    def connect_notes(self) -> None:
        page = self.browser.get(f"{self.url}/accounts/connect/notes/", timeout=TIMEOUT)
        assert "Notes is connected" in self.allow(page, account=NOTES_ACCOUNT).text


class Client:
    """An OAuth client of the demo server, with all that it was given."""

    def __init__(self, person: Person) -> None:
        self.person, self.url = person, person.url
        metadata = {"client_name": "Client", "redirect_uris": [BACK]}
        self.client_id = self.post("/oauth/register", json=metadata)["client_id"]
        self.given: list[str] = []

    def post(self, path: str, **content: Any) -> dict[str, Any]:
        answer = requests.post(self.url + path, **content, timeout=TIMEOUT)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def ask(self) -> tuple[str, str]:
        """Return a code and its verifier."""
        verifier = secrets.token_urlsafe(48)
        digest = hashlib.sha256(verifier.encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": BACK,
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
            "resource": f"{self.url}/gateway/demo",
        }
        address = f"{self.url}/oauth/authorize?{urlencode(asked)}"
        page = self.person.browser.get(address, timeout=TIMEOUT)
        done = self.person.allow(page, decision="allow", action="grant")
        onward = ONWARD.search(done.text)
        assert onward is not None
        code = parse_qs(urlsplit(unescape(onward[1])).query)["code"][0]
        self.given += [code, code + verifier]
        return code, verifier

    def exchange(self, **form: str) -> dict[str, Any]:
        issued = self.post("/oauth/token", data={"client_id": self.client_id, **form})
        self.given += [issued["access_token"], issued["refresh_token"]]
        return issued

    def redeem(self) -> dict[str, Any]:
        code, verifier = self.ask()
        form = {"code": code, "code_verifier": verifier, "redirect_uri": BACK}
        return self.exchange(grant_type="authorization_code", **form)

    def refresh(self, issued: Mapping[str, Any]) -> dict[str, Any]:
        return self.exchange(grant_type="refresh_token", refresh_token=issued["refresh_token"])


class AWS:
    """The table and KMS as somebody with all rights reads them."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack = stack
        self.dynamodb = self._client("dynamodb", stack.dynamodb)
        self.kms = self._client("kms", stack.kms)
        self.keys = [stack.environment()["KMS_KEY_ARN"]]

    def _client(self, service: str, port: int) -> Any:
        return boto3.client(
            service,  # type: ignore[call-overload]  # a name, not one of boto's literals
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )

    def create_key(self, **more: str) -> str:
        arn: str = self.kms.create_key(**more)["KeyMetadata"]["Arn"]
        return arn

    def items(self) -> dict[str, Any]:
        """Return the items that have not ended."""
        table = self.stack.environment()["SESSIONS_TABLE"]
        found = self.dynamodb.scan(TableName=table, ConsistentRead=True)
        assert "LastEvaluatedKey" not in found
        ends = {item["id"]["S"]: int(item.get("ttl", FOREVER)["N"]) for item in found["Items"]}
        live = [item for item in found["Items"] if ends[item["id"]["S"]] > time.time() + 1]
        return {item["id"]["S"]: item for item in live}

    def unwrap(self, blob: bytes, context: Mapping[str, str]) -> bytes:
        for key in self.keys:
            try:
                found = self.kms.decrypt(KeyId=key, CiphertextBlob=blob, EncryptionContext=context)
            except self.kms.exceptions.IncorrectKeyException:
                continue
            plaintext: bytes = found["Plaintext"]
            return plaintext
        raise AssertionError("no key wrapped it")

    def is_signed(self, key: str, message: bytes, mac: bytes) -> bool:
        given = {"KeyId": key, "Message": message, "Mac": mac, "MacAlgorithm": "HMAC_SHA_256"}
        try:
            return self.kms.verify_mac(**given)["MacValid"] is True
        except ClientError:
            return False

    def reader(self, audit_key: str) -> Decryptor:
        return Decryptor(
            namespace="django",
            unwrap=self.unwrap,
            now=time.time(),
            absolute_timeout=7 * DAY,
            grant_timeout=30 * DAY,
            is_signed=lambda message, mac: self.is_signed(audit_key, message, mac),
        )


def run(stack: LocalStack, *command: str, **variables: str) -> None:
    done = stack.manage(*command, variables=variables)
    assert done.returncode == 0, done.stdout + done.stderr


def closed_of(reader: Decryptor, items: Mapping[str, Any], held: Iterable[str]) -> set[str]:
    """Return what stays closed, without leases: each refresh replaces their secret."""
    return {each for each in reader.open_all(items, held) if kind_of(each) != "lease"}


def secrets_of(reader: Decryptor, items: Mapping[str, Any], held: Iterable[str]) -> list[str]:
    """Return the secrets in what these open."""
    reader.open_all(items, held)
    return [secret for content in reader.opened.values() for secret in secrets_in(content)]


def test_everything_that_a_served_gateway_stores_opens(tmp_path: Path) -> None:
    stack = LocalStack(tmp_path / "state", PROVIDER_ACCESS_TOKEN_LIFE=LIFETIME)
    with stack.running():
        aws = AWS(stack)
        audit_key = aws.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
        new_key = aws.create_key()
        stack.end()
        stack.variables |= {"AUDIT_FILE": str(tmp_path / "audit"), "AUDIT_KEY_ARN": audit_key}
        stack.start()
        person = Person(stack.url)
        client = Client(person)
        # The result of a refresh is under a secret that the session loses with the refresh.
        before = secrets_of(aws.reader(audit_key), aws.items(), person.keys)
        assert person.call() == 200
        person.connect_notes()
        until = ("end_sessions", "--before", "2020-01-01T00:00:00Z", "--no-input")
        run(stack, *until, "--no-delete")
        run(stack, *until, "--provider", "local")
        issued = client.redeem()
        for _ in range(2):
            issued = client.refresh(issued)
        client.ask()
        held = [*person.keys, *client.given, *before]
        items, reader = aws.items(), aws.reader(audit_key)
        assert closed_of(reader, items, held) == set()
        # After a change of the KMS key, the new one suffices.
        held += secrets_of(aws.reader(audit_key), items, held)
        rotation = {"KMS_KEY_ARN": new_key, "DECRYPT_KEY_ARNS": aws.keys[0]}
        run(stack, "rewrap_sessions", "--no-wait", "--no-input", **rotation)
        aws.keys = [new_key]
        assert closed_of(aws.reader(audit_key), aws.items(), held) == set()
    sealed = {"session", "about", "lease", "token", "answer", "document"}
    assert {kind_of(each) for each in reader.opened} == sealed
    plain = {"data-key", "not-before", "logout", "audit"}
    assert {kind_of(each) for each in items} == sealed | plain
