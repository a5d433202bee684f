"""The file with the keys: private, versioned, changed atomically."""

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from gateway_site.local.kms import StartError
from gateway_site.local.kms.keys import Key, KeyStore
from tests.local.test_kms.clients import ACCOUNT, REGION, clients, fails, state
from tests.support.local_kms import running_kms

# The content of `earlier_state.sql`.
KEYS = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/"
ROTATED = KEYS + "b6d60e74-20b8-4a07-b07a-32c827f4cb9e"
DISABLED = KEYS + "mrk-5dee579b0b554c93abab69d00b23276e"
PENDING = KEYS + "b1936fe6-5a1c-4963-b0d0-3206fd83f575"
WAITING = KEYS + "mrk-770c37e22a1741aebef04ac5b4fae6df"
BLOBS = {
    b"before rotation": (
        "013132333435363738393031322462366436306537342d323062382d346130372d623037612d3332"
        "63383237663463623965525f705c399bbf1ead5818cb31713f95b882c98b816299c90e08630cde92"
        "469b3ea2163a63d8c746e9fed943bf4240576bc7de35a686b699373b18e50392030ebf68964d1ad5"
        "a903e900865e9b3971c1bff12d5740d60e8b2afce2d21c2f09d08b660b688650bc02a10285"
    ),
    b"after rotation": (
        "013132333435363738393031322462366436306537342d323062382d346130372d623037612d3332"
        "63383237663463623965f4cd62a7b9ec703609a2622aa0ba6efe7d8777417caf63a33ab9a5c211ab"
        "659eca1ea52272a3b4039e8fec51069fd2ce4d0239ce7fc0e170c9e6473bde7a35ee394ec006909e"
        "537a71d47525073e13efcab44ab3c351867631ab9796823d302071b0221e29c47470ae70"
    ),
}
REPLICATED = (
    "01313233343536373839303132246d726b2d35646565353739623062353534633933616261623639"
    "64303062323332373665c4deba3ebb77de9cceab8a263d05355f755321a9aebe04869a8fb35c0636"
    "c09a65acf9d2d96919f12f94349de5debd9a358c79be5361538356b93ecbeac9df3f8f27c5a33bbe"
    "e2c807b690740f6f79ecd82e47c1c3604346bbdc4964372eaa54"
)


def test_the_state_is_private_to_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "new" / "kms.sqlite3"
    with running_kms(path) as server, clients(server.url) as connect:
        connect().create_key()
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_a_folder_that_others_may_read_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(StartError, match="mode 0700"), running_kms(tmp_path / "kms.sqlite3"):
        pytest.fail("it started")


def test_a_file_that_is_no_state_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "kms.sqlite3"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(StartError, match="not the state of a local KMS"), running_kms(path):
        pytest.fail("it started")
    assert path.read_bytes() == b"not a database" * 100


def test_a_state_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kms.sqlite3"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(StartError, match="version 99"), running_kms(path):
        pytest.fail("it started")


def test_a_change_that_fails_is_wholly_undone(tmp_path: Path) -> None:
    path = tmp_path / "kms.sqlite3"
    key = Key(ACCOUNT, REGION, "key", 0.0, "{}")

    def create_and_fail(store: KeyStore) -> None:
        store.put_key(key)
        store.add_material(key)
        raise KeyboardInterrupt

    with closing(KeyStore(path)) as store:
        with pytest.raises(KeyboardInterrupt), store.transaction():
            create_and_fail(store)
        assert (store.get_key(key.arn), store.get_materials(key)) == (None, {})
    with closing(KeyStore(path)) as store:
        assert (store.get_key(key.arn), store.get_materials(key)) == (None, {})
        with store.transaction():
            store.put_key(key)
        assert store.get_key(key.arn) == key


def test_a_key_whose_material_cannot_be_written_does_not_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kms.sqlite3"

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with running_kms(path) as server, clients(server.url) as connect:
        monkeypatch.setattr(KeyStore, "add_material", fail)
        with pytest.raises(ClientError, match="KMSInternalException"):
            connect().create_key()
        monkeypatch.undo()
        kept = connect().create_key()["KeyMetadata"]["Arn"]
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT name FROM keys").fetchall() == [(kept,)]


@pytest.fixture
def earlier_state(tmp_path: Path) -> Path:
    path = tmp_path / "kms.sqlite3"
    script = Path(__file__).with_name("earlier_state.sql").read_text(encoding="utf-8")
    with closing(sqlite3.connect(path)) as database:
        database.executescript(script)
    return path


def test_keys_of_an_earlier_local_kms_decrypt_its_ciphertexts(earlier_state: Path) -> None:
    for _ in range(2):  # The second run reads the file that the first has written.
        with running_kms(earlier_state) as server, clients(server.url) as connect:
            kms = connect()
            for plaintext, blob in BLOBS.items():
                opened = kms.decrypt(
                    KeyId="alias/app",
                    CiphertextBlob=bytes.fromhex(blob),
                    EncryptionContext={"purpose": "test"},
                )
                assert (opened["KeyId"], opened["Plaintext"]) == (ROTATED, plaintext)
            assert kms.get_key_rotation_status(KeyId=ROTATED)["RotationPeriodInDays"] == 365
            new = kms.generate_data_key(KeyId=ROTATED, KeySpec="AES_256")
            assert bytes.fromhex(BLOBS[b"after rotation"])[:82] == new["CiphertextBlob"][:82]
            kms.disable_key(KeyId=ROTATED)
            kms.enable_key(KeyId=ROTATED)


def test_disabled_and_pending_keys_of_an_earlier_local_kms_are_enabled_again(
    earlier_state: Path,
) -> None:
    with running_kms(earlier_state) as server, clients(server.url) as connect:
        for key in (DISABLED, PENDING, WAITING):
            with fails("DisabledException"):
                connect().encrypt(KeyId=key, Plaintext=b"x")
            connect().enable_key(KeyId=key)
            assert state(connect(), key) == "Enabled"
        opened = connect().decrypt(KeyId=DISABLED, CiphertextBlob=bytes.fromhex(REPLICATED))
        assert opened["Plaintext"] == b"both"
