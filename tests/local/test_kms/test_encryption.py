"""Encrypt, Decrypt, ReEncrypt and GenerateDataKey, through boto3 and real HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.local.test_kms.clients import (
    ACCOUNT,
    CONTEXT,
    PLAINTEXT,
    REGION,
    clients,
    fails,
)
from tests.support.local_kms import running_kms

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient


def test_decrypt_returns_the_plaintext_and_the_key_arn(
    kms: KMSClient, key: str, blob: bytes
) -> None:
    response = kms.decrypt(CiphertextBlob=blob, KeyId=key, EncryptionContext=CONTEXT)
    assert (response["KeyId"], response["Plaintext"]) == (key, PLAINTEXT)


def test_a_key_is_named_by_id_arn_alias_and_alias_arn(
    kms: KMSClient, key: str, blob: bytes
) -> None:
    kms.create_alias(AliasName="alias/four-names", TargetKeyId=key)
    alias_arn = f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/four-names"
    for name in (key.partition("/")[2], key, "alias/four-names", alias_arn):
        assert kms.encrypt(KeyId=name, Plaintext=b"x")["KeyId"] == key
        opened = kms.decrypt(CiphertextBlob=blob, KeyId=name, EncryptionContext=CONTEXT)
        assert opened["KeyId"] == key


def test_the_order_of_the_encryption_context_does_not_matter(
    kms: KMSClient, key: str, blob: bytes
) -> None:
    reordered = dict(reversed(CONTEXT.items()))
    opened = kms.decrypt(CiphertextBlob=blob, KeyId=key, EncryptionContext=reordered)
    assert opened["Plaintext"] == PLAINTEXT


@pytest.mark.parametrize(
    ("sealed", "asked"),
    [
        ({"a": "bc"}, {"ab": "c"}),
        ({"a": "b", "c": "d"}, {"a": "bcd"}),
        ({"a": "b", "c": "d"}, {"a": "d", "c": "b"}),
        ({"a": "b"}, {"b": "a"}),
        ({"a": "b"}, {"A": "b"}),
        ({"a": "b"}, {"a": "b", "c": "d"}),
        ({"a": "b", "c": "d"}, {"a": "b"}),
        ({"a": "b"}, {}),
        ({}, {"a": "b"}),
        ({"a": "\u00e9"}, {"a": "e\u0301"}),
    ],
)
def test_another_encryption_context_is_refused(
    kms: KMSClient, key: str, sealed: dict[str, str], asked: dict[str, str]
) -> None:
    blob = kms.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=sealed)["CiphertextBlob"]
    with fails("InvalidCiphertextException"):
        kms.decrypt(CiphertextBlob=blob, KeyId=key, EncryptionContext=asked)
    assert (
        kms.decrypt(CiphertextBlob=blob, KeyId=key, EncryptionContext=sealed)["Plaintext"] == b"x"
    )


def test_every_flipped_byte_is_refused(kms: KMSClient, key: str, blob: bytes) -> None:
    for index, byte in enumerate(blob):
        altered = blob[:index] + bytes([byte ^ (1 << index % 8)]) + blob[index + 1 :]
        with fails("InvalidCiphertextException"):
            kms.decrypt(CiphertextBlob=altered, KeyId=key, EncryptionContext=CONTEXT)


def test_every_truncation_is_refused(kms: KMSClient, key: str, blob: bytes) -> None:
    for length in range(1, len(blob)):
        with fails("InvalidCiphertextException"):
            kms.decrypt(CiphertextBlob=blob[:length], KeyId=key, EncryptionContext=CONTEXT)
    with fails("InvalidCiphertextException"):
        kms.decrypt(CiphertextBlob=blob + b"\0", KeyId=key, EncryptionContext=CONTEXT)


def test_halves_of_two_blobs_are_refused(kms: KMSClient, key: str, blob: bytes) -> None:
    other = kms.encrypt(KeyId=key, Plaintext=PLAINTEXT, EncryptionContext=CONTEXT)["CiphertextBlob"]
    half = len(blob) // 2
    with fails("InvalidCiphertextException"):
        kms.decrypt(CiphertextBlob=blob[:half] + other[half:], KeyId=key, EncryptionContext=CONTEXT)


def test_the_blob_hides_the_plaintext_and_never_repeats(
    kms: KMSClient, key: str, blob: bytes
) -> None:
    again = kms.encrypt(KeyId=key, Plaintext=PLAINTEXT, EncryptionContext=CONTEXT)["CiphertextBlob"]
    assert again != blob
    assert PLAINTEXT not in blob
    assert PLAINTEXT[:4] not in blob


def test_the_blob_of_another_key_is_an_incorrect_key(kms: KMSClient, blob: bytes) -> None:
    other = kms.create_key()["KeyMetadata"]["Arn"]
    with fails("IncorrectKeyException"):
        kms.decrypt(CiphertextBlob=blob, KeyId=other, EncryptionContext=CONTEXT)
    with fails("IncorrectKeyException"):
        kms.re_encrypt(
            CiphertextBlob=blob,
            SourceKeyId=other,
            SourceEncryptionContext=CONTEXT,
            DestinationKeyId=other,
        )


def test_the_blob_of_another_kms_is_invalid(blob: bytes) -> None:
    with running_kms() as other, clients(other.url) as connect:
        key = connect().create_key()["KeyMetadata"]["Arn"]
        with fails("InvalidCiphertextException"):
            connect().decrypt(CiphertextBlob=blob, KeyId=key, EncryptionContext=CONTEXT)


def test_data_keys_have_the_requested_length_and_decrypt(kms: KMSClient, key: str) -> None:
    sizes: list[tuple[dict[str, Any], int]] = [
        ({"KeySpec": "AES_256"}, 32),
        ({"NumberOfBytes": 1024}, 1024),
    ]
    for size, length in sizes:
        made = kms.generate_data_key(KeyId=key, EncryptionContext=CONTEXT, **size)
        blob = made["CiphertextBlob"]
        opened = kms.decrypt(CiphertextBlob=blob, KeyId=key, EncryptionContext=CONTEXT)
        assert opened["Plaintext"] == made["Plaintext"]
        assert len(made["Plaintext"]) == length
        assert made["Plaintext"] not in blob


def test_re_encrypt_moves_to_another_key_and_context(kms: KMSClient, key: str, blob: bytes) -> None:
    new = kms.create_key()["KeyMetadata"]["Arn"]
    moved = kms.re_encrypt(
        CiphertextBlob=blob,
        SourceKeyId=key,
        SourceEncryptionContext=CONTEXT,
        DestinationKeyId=new,
        DestinationEncryptionContext={"new": "context"},
    )
    assert (moved["SourceKeyId"], moved["KeyId"]) == (key, new)
    assert "Plaintext" not in moved
    opened = kms.decrypt(
        CiphertextBlob=moved["CiphertextBlob"], KeyId=new, EncryptionContext={"new": "context"}
    )
    assert opened["Plaintext"] == PLAINTEXT
    with fails("InvalidCiphertextException"):
        kms.decrypt(CiphertextBlob=moved["CiphertextBlob"], KeyId=new, EncryptionContext=CONTEXT)
    with fails("IncorrectKeyException"):
        kms.decrypt(
            CiphertextBlob=moved["CiphertextBlob"], KeyId=key, EncryptionContext={"new": "context"}
        )


def test_re_encrypt_needs_the_source_context(kms: KMSClient, key: str, blob: bytes) -> None:
    with fails("InvalidCiphertextException"):
        kms.re_encrypt(CiphertextBlob=blob, SourceKeyId=key, DestinationKeyId=key)


def test_parameters_outside_the_documented_bounds_are_refused(
    kms: KMSClient, key: str, blob: bytes
) -> None:
    refused: list[tuple[Callable[..., object], dict[str, Any]]] = [
        (kms.encrypt, {"KeyId": key, "Plaintext": b""}),
        (kms.encrypt, {"KeyId": key, "Plaintext": b"x" * 4097}),
        (kms.encrypt, {"KeyId": key}),
        (kms.encrypt, {"Plaintext": b"x"}),
        (kms.encrypt, {"KeyId": "", "Plaintext": b"x"}),
        (kms.encrypt, {"KeyId": "x" * 2049, "Plaintext": b"x"}),
        (kms.encrypt, {"KeyId": key, "Plaintext": b"x", "EncryptionContext": {"": "x"}}),
        (kms.encrypt, {"KeyId": key, "Plaintext": b"x", "EncryptionContext": {"a": "x" * 8192}}),
        (kms.decrypt, {"KeyId": key}),
        (kms.decrypt, {"KeyId": key, "CiphertextBlob": b""}),
        (kms.decrypt, {"KeyId": key, "CiphertextBlob": b"x" * 6145}),
        (kms.decrypt, {"CiphertextBlob": blob}),
        (kms.generate_data_key, {"KeyId": key}),
        (kms.generate_data_key, {"KeyId": key, "KeySpec": "AES_256", "NumberOfBytes": 32}),
        (kms.generate_data_key, {"KeyId": key, "KeySpec": "AES_512"}),
        (kms.generate_data_key, {"KeyId": key, "NumberOfBytes": 0}),
        (kms.generate_data_key, {"KeyId": key, "NumberOfBytes": 1025}),
        (kms.re_encrypt, {"CiphertextBlob": blob, "DestinationKeyId": key}),
        (kms.re_encrypt, {"CiphertextBlob": blob, "SourceKeyId": key}),
    ]
    for call, parameters in refused:
        with fails("ValidationException"):
            call(**parameters)


def test_parameters_that_nothing_uses_are_refused_by_name(
    kms: KMSClient, key: str, blob: bytes
) -> None:
    unsupported: list[tuple[Callable[..., object], dict[str, Any]]] = [
        (kms.encrypt, {"Plaintext": b"x", "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}),
        (kms.encrypt, {"Plaintext": b"x", "GrantTokens": ["token"]}),
        (kms.decrypt, {"CiphertextBlob": blob, "Recipient": {"AttestationDocument": b"x"}}),
        (kms.generate_data_key, {"KeySpec": "AES_256", "Recipient": {}}),
    ]
    for call, parameters in unsupported:
        with fails("ValidationException", f"has no {list(parameters)[-1]} in the local KMS"):
            call(KeyId=key, **parameters)


def test_the_largest_plaintext_makes_a_blob_that_opens(kms: KMSClient, key: str) -> None:
    blob = kms.encrypt(KeyId=key, Plaintext=b"x" * 4096)["CiphertextBlob"]
    assert len(blob) <= 6144
    assert kms.decrypt(KeyId=key, CiphertextBlob=blob)["Plaintext"] == b"x" * 4096


@pytest.mark.slow
def test_threads_get_different_data_keys_that_all_open(kms: KMSClient, key: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(
            pool.map(lambda _: kms.generate_data_key(KeyId=key, KeySpec="AES_256"), range(200))
        )
        blobs = [each["CiphertextBlob"] for each in made]
        opened = list(pool.map(lambda blob: kms.decrypt(CiphertextBlob=blob, KeyId=key), blobs))
    assert [each["Plaintext"] for each in opened] == [each["Plaintext"] for each in made]
    assert len({each["Plaintext"] for each in made}) == 200


def test_disabling_a_key_stops_threads_that_use_it(kms: KMSClient, key: str) -> None:
    started = threading.Barrier(5)
    disabled = threading.Event()

    def use(_: int) -> str:
        started.wait()
        while True:
            late = disabled.is_set()
            try:
                kms.generate_data_key(KeyId=key, KeySpec="AES_256")
            except ClientError as error:
                return error.response["Error"]["Code"]
            assert not late, "a call that began after DisableKey was answered has succeeded"

    with ThreadPoolExecutor(4) as pool:
        responses = pool.map(use, range(4))
        started.wait()
        kms.disable_key(KeyId=key)
        disabled.set()
        assert list(responses) == ["DisabledException"] * 4
