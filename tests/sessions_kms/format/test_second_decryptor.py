"""Stored sessions, decrypted by a second program with boto3, `cryptography` and docs/format.md.

The engine and the second program share the table, the KMS key and the cookie,
and no line of code.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.config import Config as ClientConfig

from sessions_kms.backend import SessionStore
from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.support import reference_format
from tests.sessions_kms.support.reference_format import CannotTell, Invalid, Moved, NoSession
from tests.sessions_kms.support.sessions import save_changes, saved_key
from tests.sessions_kms.support.stacks import REGION, Stack, on_aws

CONTENT = {"_auth_user_id": "42", "access_token": "canary-7d11", "name": "Zoë", "visits": [1, 2.5]}
NO_RETRIES = ClientConfig(connect_timeout=1, retries={"total_max_attempts": 1})
ATTRIBUTES = {
    *("id", "version", "encryptedData", "iv", "authTag", "encryptedKey", "keyPeriod", "salt"),
    *("commitment", "createdAt", "updatedAt", "ttl", "revision", "owner"),
}

# moto's KMS decrypts with disabled keys and calls another key's blob a denied access.
on_strict_kms = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)


@dataclass
class SecondProgram:
    """Reads the engine's table by the page alone."""

    stack: Stack
    dynamodb: Any
    kms: Any

    def open(self, session_key: str, *, namespace: str = "django", **reader: Any) -> Any:
        """Open what the table holds for a cookie."""
        item = reference_format.fetch(
            self.dynamodb, self.stack.config.table_name, namespace, session_key
        )
        return self.open_item(item, session_key, namespace=namespace, **reader)

    def open_item(
        self,
        item: reference_format.Item,
        session_key: str,
        *,
        namespace: str = "django",
        key_arn: str | None = None,
        context: Mapping[str, str] | None = None,
        kms: Any = None,
    ) -> Any:
        unwrap = reference_format.unwrap_with(
            kms or self.kms, key_arn or self.stack.config.key_id, namespace, context
        )
        plaintext = reference_format.open_item(
            item,
            namespace=namespace,
            session_key=session_key,
            now=self.stack.clock(),
            unwrap=unwrap,
            absolute_timeout=self.stack.config.absolute_timeout,
        )
        return json.loads(plaintext)

    def seal(self, content: Mapping[str, Any], session_key: str) -> dict[str, dict[str, Any]]:
        """Return an item that the engine must read, with a new data key."""
        now = int(self.stack.clock())
        period = now - now % 86_400
        response = self.kms.generate_data_key(
            KeyId=self.stack.config.key_id,
            KeySpec="AES_256",
            EncryptionContext=reference_format.encryption_context("django", period),
        )
        header = {
            "id": {"S": reference_format.session_id("django", session_key)},
            "version": {"N": "1"},
            "encryptedKey": {"B": response["CiphertextBlob"]},
            "keyPeriod": {"N": str(period)},
            "salt": {"B": b"a fresh salt, 16"},
            "createdAt": {"N": str(now)},
            "updatedAt": {"N": str(now)},
            "ttl": {"N": str(now + 60)},
            "revision": {"N": "1"},
        }
        return reference_format.seal(
            json.dumps(content).encode(),
            header,
            namespace="django",
            session_key=session_key,
            data_key=response["Plaintext"],
            iv=b"12 fresh byt",
        )


@contextmanager
def running_program(stack: Stack) -> Iterator[SecondProgram]:
    with (
        closing(boto3.client("dynamodb", region_name=REGION)) as dynamodb,
        closing(boto3.client("kms", region_name=REGION)) as kms,
    ):
        yield SecondProgram(stack, dynamodb, kms)


@pytest.fixture
def program(stack: Stack) -> Iterator[SecondProgram]:
    with running_program(stack) as made:
        yield made


@contextmanager
def refused(reason: str) -> Iterator[None]:
    with pytest.raises(Invalid) as caught:
        yield
    assert caught.value.reason == reason


@on_aws
def test_second_program_decrypts_sessions_of_the_engine(program: SecondProgram) -> None:
    assert program.open(saved_key(**CONTENT)) == CONTENT


@on_aws
def test_second_program_opens_each_later_state(program: SecondProgram) -> None:
    cookie = saved_key(**CONTENT)
    session = save_changes(cookie, more=True)
    assert program.open(cookie) == CONTENT | {"more": True}
    session.cycle_key()
    assert program.open(session.session_key or "") == CONTENT | {"more": True}
    with pytest.raises(Moved):
        program.open(cookie)
    program.stack.clock.advance(15)
    with pytest.raises(NoSession):
        program.open(cookie)


@on_aws
def test_stored_attributes_are_those_of_the_format(program: SecondProgram) -> None:
    saved_key(**CONTENT)
    saved_key(anonymous=True)
    signed_in, anonymous = sorted(program.stack.sessions().values(), key=len, reverse=True)
    assert set(signed_in) == ATTRIBUTES
    assert set(anonymous) == ATTRIBUTES - {"owner"}
    assert signed_in["owner"] == {"S": "user#django#42"}
    (shared,) = (item for name, item in program.stack.items().items() if "#" in name)
    assert set(shared) == {"id", "version", "keyPeriod", "encryptedKey", "createdAt", "ttl"}
    assert shared["id"] == {"S": f"data-key#django#{signed_in['keyPeriod']['N']}"}
    assert shared["encryptedKey"] == signed_in["encryptedKey"]


@on_aws
def test_index_by_owner_lists_the_session(program: SecondProgram) -> None:
    saved_key(**CONTENT)
    found = program.dynamodb.query(
        TableName=program.stack.config.table_name,
        IndexName="by-owner",
        KeyConditionExpression="#owner = :owner",
        ExpressionAttributeNames={"#owner": "owner"},
        ExpressionAttributeValues={":owner": {"S": "user#django#42"}},
    )["Items"]
    ((name, item),) = program.stack.sessions().items()
    assert found == [{"id": {"S": name}, "owner": item["owner"], "createdAt": item["createdAt"]}]


@on_aws
def test_wrong_cookie_opens_nothing(program: SecondProgram) -> None:
    cookie = saved_key(**CONTENT)
    other = cookie[::-1]
    with pytest.raises(NoSession):
        program.open(other)
    (item,) = program.stack.sessions().values()
    with pytest.raises(CannotTell, match="id"):
        program.open_item(item, other)
    moved = item | {"id": {"S": reference_format.session_id("django", other)}}
    with refused("commitment"):
        program.open_item(moved, other)


@on_aws
def test_wrong_encryption_context_opens_nothing(program: SecondProgram) -> None:
    cookie = saved_key(**CONTENT)
    with refused("encrypted_key"):
        program.open(cookie, context={"environment": "other"})
    (item,) = program.stack.sessions().values()
    for number, reason in (
        (0, "key_period"),
        (int(item["keyPeriod"]["N"]) - 86_400, "encrypted_key"),
    ):
        with refused(reason):
            program.open_item(item | {"keyPeriod": {"N": str(number)}}, cookie)
    moved = item | {"id": {"S": reference_format.session_id("other", cookie)}}
    with refused("encrypted_key"):
        program.open_item(moved, cookie, namespace="other")


@on_aws
def test_configured_encryption_context_is_needed(make_stack: MakeStack) -> None:
    context = {"environment": "production"}
    stack = make_stack(encryption_context=context, namespace="shop")
    cookie = saved_key(**CONTENT)
    with running_program(stack) as program:
        assert program.open(cookie, namespace="shop", context=context) == CONTENT
        with refused("encrypted_key"):
            program.open(cookie, namespace="shop")


@on_strict_kms
def test_disabled_key_opens_nothing(program: SecondProgram) -> None:
    cookie = saved_key(**CONTENT)
    program.kms.disable_key(KeyId=program.stack.config.key_id)
    with pytest.raises(CannotTell):
        program.open(cookie)
    program.kms.enable_key(KeyId=program.stack.config.key_id)
    assert program.open(cookie) == CONTENT


@on_aws
def test_without_kms_nothing_opens(program: SecondProgram) -> None:
    cookie = saved_key(**CONTENT)
    nowhere = "http://127.0.0.1:9"
    with (
        closing(
            boto3.client("kms", region_name=REGION, endpoint_url=nowhere, config=NO_RETRIES)
        ) as unreachable,
        pytest.raises(CannotTell),
    ):
        program.open(cookie, kms=unreachable)


@on_aws
def test_another_kms_key_opens_nothing(program: SecondProgram) -> None:
    cookie = saved_key(**CONTENT)
    other = program.kms.create_key()["KeyMetadata"]["Arn"]
    with pytest.raises(CannotTell):
        program.open(cookie, key_arn=other)


@on_strict_kms
def test_rewrapped_data_key_decrypts_only_under_the_other_kms_key(program: SecondProgram) -> None:
    cookie = saved_key(**CONTENT)
    (item,) = program.stack.sessions().values()
    other = program.kms.create_key()["KeyMetadata"]["Arn"]
    context = reference_format.encryption_context("django", int(item["keyPeriod"]["N"]))
    anew = program.kms.re_encrypt(
        CiphertextBlob=item["encryptedKey"]["B"],
        SourceKeyId=program.stack.config.key_id,
        SourceEncryptionContext=context,
        DestinationKeyId=other,
        DestinationEncryptionContext=context,
    )["CiphertextBlob"]
    program.dynamodb.update_item(
        TableName=program.stack.config.table_name,
        Key={"id": item["id"]},
        UpdateExpression="SET encryptedKey = :new",
        ConditionExpression="encryptedKey = :old",
        ExpressionAttributeValues={":new": {"B": anew}, ":old": item["encryptedKey"]},
    )
    assert program.open(cookie, key_arn=other) == CONTENT
    with pytest.raises(CannotTell):
        program.open(cookie)


@on_aws
@pytest.mark.parametrize("period", [0, 3600, 7 * 86_400])
def test_any_length_of_period_opens(make_stack: MakeStack, period: int) -> None:
    stack = make_stack(data_key_period=period)
    with running_program(stack) as program:
        assert program.open(saved_key(**CONTENT)) == CONTENT
    (item,) = stack.sessions().values()
    number = int(item["keyPeriod"]["N"])
    length = period or 86_400
    assert number == stack.clock() // length * length


@on_aws
def test_engine_decrypts_sessions_of_the_second_program(program: SecondProgram) -> None:
    cookie = "secondprogram0123456789abcdefghi"
    program.stack.put_item(program.seal(CONTENT, cookie))
    session = SessionStore(cookie)
    assert session.load() == CONTENT
    session["visits"] = 3
    session.save()
    assert program.open(cookie) == CONTENT | {"visits": 3}


@on_aws
def test_session_ends_at_its_ttl_for_both(program: SecondProgram) -> None:
    cookie = saved_key(**CONTENT)
    (item,) = program.stack.sessions().values()
    program.stack.clock.now = int(item["ttl"]["N"])
    with pytest.raises(NoSession):
        program.open(cookie)
    assert SessionStore(cookie).load() == {}


@on_aws
def test_not_before_item_ends_earlier_sessions(program: SecondProgram) -> None:
    ended = saved_key(**CONTENT)
    now = int(program.stack.clock())
    program.stack.put_item(
        {"id": {"S": "not-before#django"}, "version": {"N": "1"}, "notBefore": {"N": str(now)}}
    )
    program.stack.clock.advance(31)  # Each process reads it every 30 seconds.
    assert SessionStore(ended).load() == {}
    later = saved_key(**CONTENT)
    assert SessionStore(later).load() == CONTENT


@on_aws
def test_older_record_put_back_is_not_detected_as_the_document_says(program: SecondProgram) -> None:
    cookie = saved_key(**CONTENT)
    (old,) = program.stack.sessions().values()
    save_changes(cookie, later=True)
    program.stack.put_item(old)
    assert program.open(cookie) == CONTENT
    assert SessionStore(cookie).load() == CONTENT
