"""KMSKeyring: one contract, over the fake and over the local KMS behind real HTTP."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import boto3
import pytest

from sessions_kms.aws import clients
from sessions_kms.aws.kms import KMS, DataKeyResponse, IncorrectKey
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.data_keys import keyring as keyring_module
from sessions_kms.data_keys.keyring import KMSKeyring
from sessions_kms.exceptions import InvalidRecord, KMSUnavailable
from tests.sessions_kms.support.fakes import FOREIGN_KEY, KEY, OLD_KEY, FakeKMS, State
from tests.sessions_kms.support.fleet import PERIOD, kms_keyring
from tests.sessions_kms.support.quiet import shown_frames
from tests.support.local_kms import LocalKMS


@dataclass
class Cloud:
    """A KMS with three KMS keys, and what an administrator can do to them."""

    kms: KMS
    key: str
    old_key: str
    foreign_key: str
    refuse: Callable[[str], object]
    calls: Callable[[], list[str]]

    def keyring(self, key_id: str | None = None, *decrypt_key_ids: str) -> KMSKeyring:
        return KMSKeyring(
            self.kms,
            key_id=key_id or self.key,
            decrypt_key_ids=decrypt_key_ids,
            namespace="django",
            encryption_context={},
        )


def fake_cloud() -> Cloud:
    kms = FakeKMS()
    return Cloud(
        kms,
        KEY,
        OLD_KEY,
        FOREIGN_KEY,
        refuse=lambda key: kms.set_state(State.REFUSING, key),
        calls=lambda: [call.operation for call in kms.calls],
    )


@contextmanager
def local_cloud(local: LocalKMS, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", local.url)
    clients.reset()
    names = {"GenerateDataKey": "generate_data_key", "Decrypt": "decrypt"}
    before = len(local.calls)
    with closing(boto3.client("kms", region_name="eu-west-1")) as client:
        key, old_key, foreign_key = (client.create_key()["KeyMetadata"]["Arn"] for _ in range(3))
        yield Cloud(
            KMS(),
            key,
            old_key,
            foreign_key,
            refuse=lambda key: client.disable_key(KeyId=key),
            calls=lambda: [names[name] for name in local.calls[before:] if name in names],
        )
    clients.reset()


@pytest.fixture(params=["fake", "local"])
def cloud(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    if request.param == "fake":
        yield fake_cloud()
    else:
        with local_cloud(request.getfixturevalue("local_kms"), monkeypatch) as local:
            yield local


def test_what_was_generated_is_unwrapped_to_the_same_data_key(cloud: Cloud) -> None:
    generated = run_sync(cloud.keyring().generate(PERIOD))
    assert run_sync(cloud.keyring().unwrap(generated.encrypted, PERIOD)) == generated
    assert (generated.period, generated.kms_key_id) == (PERIOD, cloud.key)
    assert len(generated.plaintext) == 32
    assert cloud.calls() == ["generate_data_key", *["decrypt"] * 2]


def test_each_generated_data_key_is_new(cloud: Cloud) -> None:
    keys = [run_sync(cloud.keyring().generate(PERIOD)) for _ in range(3)]
    assert len({key.plaintext for key in keys}) == len({key.encrypted for key in keys}) == 3


def test_data_key_of_another_period_is_invalid(cloud: Cloud) -> None:
    generated = run_sync(cloud.keyring().generate(PERIOD))
    with pytest.raises(InvalidRecord):
        run_sync(cloud.keyring().unwrap(generated.encrypted, PERIOD + 1))


def test_data_key_of_another_namespace_is_invalid(cloud: Cloud) -> None:
    generated = run_sync(cloud.keyring().generate(PERIOD))
    other = KMSKeyring(
        cloud.kms, key_id=cloud.key, decrypt_key_ids=(), namespace="b", encryption_context={}
    )
    with pytest.raises(InvalidRecord):
        run_sync(other.unwrap(generated.encrypted, PERIOD))


def test_data_key_of_another_configured_context_is_invalid(cloud: Cloud) -> None:
    generated = run_sync(cloud.keyring().generate(PERIOD))
    other = KMSKeyring(
        cloud.kms,
        key_id=cloud.key,
        decrypt_key_ids=(),
        namespace="django",
        encryption_context={"stage": "prod"},
    )
    with pytest.raises(InvalidRecord):
        run_sync(other.unwrap(generated.encrypted, PERIOD))


@pytest.mark.parametrize("blob", [b"forged", b"\x00" * 6144])
def test_forged_blob_is_invalid(cloud: Cloud, blob: bytes) -> None:
    with pytest.raises(InvalidRecord):
        run_sync(cloud.keyring().unwrap(blob, PERIOD))


def test_flipped_bit_is_invalid(cloud: Cloud) -> None:
    blob = bytearray(run_sync(cloud.keyring().generate(PERIOD)).encrypted)
    blob[-1] ^= 1
    with pytest.raises(InvalidRecord):
        run_sync(cloud.keyring().unwrap(bytes(blob), PERIOD))


def test_data_key_of_a_previous_kms_key_is_unwrapped_by_it(cloud: Cloud) -> None:
    generated = run_sync(cloud.keyring(cloud.old_key).generate(PERIOD))
    unwrapped = run_sync(
        cloud.keyring(cloud.key, cloud.foreign_key, cloud.old_key).unwrap(
            generated.encrypted, PERIOD
        )
    )
    assert unwrapped == generated
    assert unwrapped.kms_key_id == cloud.old_key
    assert cloud.calls() == ["generate_data_key", *["decrypt"] * 4]


def test_data_key_of_an_unknown_kms_key_is_unavailable(cloud: Cloud) -> None:
    generated = run_sync(cloud.keyring(cloud.foreign_key).generate(PERIOD))
    with pytest.raises(KMSUnavailable, match=r"^None of the configured KMS keys") as caught:
        run_sync(cloud.keyring(cloud.key, cloud.old_key).unwrap(generated.encrypted, PERIOD))
    assert caught.value.refused_key is None
    assert cloud.calls() == ["generate_data_key", *["decrypt"] * 3]


def test_current_kms_key_is_not_called_twice_if_listed_among_the_previous(cloud: Cloud) -> None:
    generated = run_sync(cloud.keyring(cloud.foreign_key).generate(PERIOD))
    with pytest.raises(IncorrectKey):
        run_sync(cloud.keyring(cloud.key, cloud.key).unwrap(generated.encrypted, PERIOD))
    assert cloud.calls() == ["generate_data_key", *["decrypt"] * 2]


@pytest.mark.parametrize("which", ["key", "old_key"])
def test_refusing_kms_key_is_named_and_ends_the_search(cloud: Cloud, which: str) -> None:
    generated = run_sync(cloud.keyring(cloud.old_key).generate(PERIOD))
    refusing = getattr(cloud, which)
    cloud.refuse(refusing)
    with pytest.raises(KMSUnavailable) as caught:
        run_sync(cloud.keyring(cloud.key, cloud.old_key).unwrap(generated.encrypted, PERIOD))
    assert caught.value.refused_key == refusing
    asked = 2 if which == "key" else 3  # of which the first belongs to the generation
    assert cloud.calls() == ["generate_data_key", *["decrypt"] * asked]


def test_refusing_previous_kms_key_does_not_affect_others(cloud: Cloud) -> None:
    generated = run_sync(cloud.keyring(cloud.foreign_key).generate(PERIOD))
    cloud.refuse(cloud.old_key)
    keyring = cloud.keyring(cloud.key, cloud.old_key, cloud.foreign_key)
    assert run_sync(keyring.unwrap(generated.encrypted, PERIOD)) == generated


def test_refusing_previous_kms_key_is_named_when_no_other_unwraps(cloud: Cloud) -> None:
    generated = run_sync(cloud.keyring(cloud.old_key).generate(PERIOD))
    cloud.refuse(cloud.old_key)
    with pytest.raises(KMSUnavailable) as caught:
        run_sync(
            cloud.keyring(cloud.key, cloud.old_key, cloud.foreign_key).unwrap(
                generated.encrypted, PERIOD
            )
        )
    assert caught.value.refused_key == cloud.old_key
    assert cloud.calls() == ["generate_data_key", *["decrypt"] * 4]


def test_refusing_kms_key_generates_nothing(cloud: Cloud) -> None:
    cloud.refuse(cloud.key)
    with pytest.raises(KMSUnavailable) as caught:
        run_sync(cloud.keyring().generate(PERIOD))
    assert caught.value.refused_key == cloud.key


def test_unknown_kms_key_refuses(cloud: Cloud) -> None:
    unknown = cloud.key[:-4] + "beef"
    with pytest.raises(KMSUnavailable) as caught:
        run_sync(cloud.keyring(unknown).generate(PERIOD))
    assert caught.value.refused_key == unknown


# Faults that only the fake can have.


def test_context_has_our_three_names_and_the_configured_ones() -> None:
    kms = FakeKMS()
    run_sync(kms_keyring(kms, stage="prod").generate(PERIOD))
    assert kms.calls[0].context == {
        "purpose": "sessions_kms",
        "namespace": "django",
        "period": str(PERIOD),
        "stage": "prod",
    }


def test_configured_context_cannot_take_our_names() -> None:
    keyring = kms_keyring(FakeKMS(), purpose="other", period="1")
    assert keyring.context(PERIOD)["purpose"] == "sessions_kms"
    assert keyring.context(PERIOD)["period"] == str(PERIOD)


@pytest.mark.parametrize("state", [State.CUTTING, State.MISNAMING, State.UNREACHABLE])
def test_incomplete_or_false_response_is_unavailable(state: State) -> None:
    kms = FakeKMS()
    keyring = kms_keyring(kms)
    generated = run_sync(keyring.generate(PERIOD))
    kms.set_state(state)
    with pytest.raises(KMSUnavailable) as generating:
        run_sync(keyring.generate(PERIOD))
    with pytest.raises(KMSUnavailable) as unwrapping:
        run_sync(keyring.unwrap(generated.encrypted, PERIOD))
    assert generating.value.refused_key is unwrapping.value.refused_key is None


each_size = pytest.mark.parametrize(
    ("size", "accepted"), [(0, False), (1, True), (6144, True), (6145, False)]
)


@each_size
def test_generated_blob_has_1_to_6144_bytes(size: int, accepted: bool) -> None:
    class OtherSize(FakeKMS):
        def generate_data_key(self, key_id: str, context: object) -> DataKeyResponse:
            return DataKeyResponse(key_id, bytes(32), bytes(size))

        def decrypt(self, key_id: str, blob: bytes, context: object) -> DataKeyResponse:
            return DataKeyResponse(key_id, bytes(32), blob)

    keyring = kms_keyring(OtherSize())
    if accepted:
        assert len(run_sync(keyring.generate(PERIOD)).encrypted) == size
    else:
        with pytest.raises(KMSUnavailable):
            run_sync(keyring.generate(PERIOD))


@each_size
def test_rewrapped_blob_has_1_to_6144_bytes(size: int, accepted: bool) -> None:
    class OtherSize(FakeKMS):
        def re_encrypt(self, ciphertext: bytes, **_: object) -> bytes:
            return bytes(size)

        def decrypt(self, key_id: str, blob: bytes, context: object) -> DataKeyResponse:
            return DataKeyResponse(key_id, bytes(32), blob)

    keyring = kms_keyring(OtherSize(), decrypt_key_ids=(OLD_KEY,))
    if accepted:
        assert run_sync(keyring.rewrap(b"wrapped", PERIOD)) == bytes(size)
    else:
        with pytest.raises(KMSUnavailable):
            run_sync(keyring.rewrap(b"wrapped", PERIOD))


def test_repr_shows_neither_plaintext_nor_blob() -> None:
    key = run_sync(kms_keyring(FakeKMS()).generate(PERIOD))
    assert repr(key.plaintext)[2:-1] not in repr(key)
    assert repr(key) == f"DataKey(period={PERIOD}, kms_key_id='{KEY}')"


@pytest.mark.parametrize("ask", ["generate", "unwrap"])
def test_frames_with_data_keys_are_hidden(ask: str) -> None:
    kms = FakeKMS()
    ours = kms_keyring(kms)
    encrypted = run_sync(ours.generate(PERIOD)).encrypted
    kms.set_state(State.REFUSING)
    asked = {"generate": (PERIOD,), "unwrap": (encrypted, PERIOD)}[ask]
    assert shown_frames(lambda: run_sync(getattr(ours, ask)(*asked)), keyring_module) == set()
