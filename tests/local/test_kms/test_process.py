"""The command as a process: private durable state, one owner, one sentence for a failed start."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError

from gateway_site.local.kms import CannotStart, LocalKMS, running_kms
from gateway_site.local.kms.keys import Key, KeyStore
from tests.local.test_kms.clients import clients, fails
from tests.support.processes import lines_until, printed_by, started

EVERYWHERE = "0.0.0.0"  # noqa: S104 -- it must be refused


def test_the_state_is_private_to_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "new" / "kms.sqlite3"
    with running_kms(path) as server, clients(server.url) as connect:
        connect().create_key()
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_a_folder_that_others_may_read_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(CannotStart, match="mode 0700"), running_kms(tmp_path / "kms.sqlite3"):
        pytest.fail("it started")


def test_a_file_that_is_no_state_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "kms.sqlite3"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(CannotStart, match="not the state of a local KMS"), running_kms(path):
        pytest.fail("it started")
    assert path.read_bytes() == b"not a database" * 100


def test_a_state_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kms.sqlite3"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(CannotStart, match="version 99"), running_kms(path):
        pytest.fail("it started")


def test_a_change_that_fails_is_wholly_undone(tmp_path: Path) -> None:
    path = tmp_path / "kms.sqlite3"
    with closing(KeyStore(path)) as store:
        key = Key("123456789012", "eu-west-1", "key", 0.0, "{}")
        with store.transaction():
            store.put_key(key)
            store.add_material(key, 0.0)

        def delete_and_fail() -> None:
            store.delete_key(key)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt), store.transaction():
            delete_and_fail()
        assert store.keys(key.account, key.region) == [key]
        assert len(store.materials(key)) == 1
    with closing(KeyStore(path)) as store:
        assert store.keys(key.account, key.region) == [key]


@contextmanager
def process(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Start the command; kill it at the end if it still runs."""
    command = [sys.executable, "-W", "error", "-m", "gateway_site.local.kms", *map(str, arguments)]
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        yield running


def listening(running: subprocess.Popen[str]) -> str:
    """Wait for the line that names the address."""
    (line,) = lines_until(running)
    found = re.fullmatch(r"kms listening on (http://127\.0\.0\.1:\d+)\n", line)
    assert found, line
    return found[1]


def test_what_was_answered_survives_kill_9(tmp_path: Path) -> None:
    state = tmp_path / "kms.sqlite3"
    with process("--port", "0", "--state", state) as first, clients(listening(first)) as connect:
        kms = connect()
        key = kms.create_key()["KeyMetadata"]["Arn"]
        kms.create_alias(AliasName="alias/app", TargetKeyId=key)
        made = kms.generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext={"a": "b"})
        kms.rotate_key_on_demand(KeyId=key)
        late = kms.encrypt(KeyId=key, Plaintext=b"late")["CiphertextBlob"]
        disabled = kms.create_key()["KeyMetadata"]["Arn"]
        kms.disable_key(KeyId=disabled)
        os.kill(first.pid, signal.SIGKILL)
        first.wait(10)
    with process("--port", "0", "--state", state) as second, clients(listening(second)) as connect:
        kms = connect()
        opened = kms.decrypt(
            CiphertextBlob=made["CiphertextBlob"], KeyId="alias/app", EncryptionContext={"a": "b"}
        )
        assert opened["Plaintext"] == made["Plaintext"]
        assert kms.decrypt(CiphertextBlob=late, KeyId=key)["Plaintext"] == b"late"
        with fails("DisabledException"):
            kms.encrypt(KeyId=disabled, Plaintext=b"x")


def test_every_key_that_was_answered_survives_a_kill_during_writes(tmp_path: Path) -> None:
    state = tmp_path / "kms.sqlite3"
    answered: list[str] = []
    with process("--port", "0", "--state", state) as first, clients(listening(first)) as connect:
        kms = connect()

        def create_until_killed(_: int) -> None:
            with suppress(BotoCoreError):
                while True:
                    answered.append(kms.create_key()["KeyMetadata"]["KeyId"])
                    if len(answered) >= 40:
                        os.kill(first.pid, signal.SIGKILL)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(create_until_killed, range(4)))
    assert len(answered) >= 40
    with process("--port", "0", "--state", state) as second, clients(listening(second)) as connect:
        kept = {key["KeyId"] for key in connect().list_keys(Limit=1000)["Keys"]}
    assert set(answered) <= kept
    assert len(kept) <= len(answered) + 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly_and_tells_no_secret(tmp_path: Path, number: signal.Signals) -> None:
    with process("--port", "0", "--state", tmp_path / "kms.sqlite3") as started:
        with clients(listening(started)) as connect:
            key = connect().create_key()["KeyMetadata"]["Arn"]
            blob = connect().encrypt(KeyId=key, Plaintext=b"canary-plaintext")["CiphertextBlob"]
            with fails("InvalidCiphertextException"):
                connect().decrypt(CiphertextBlob=blob[:-1])
        started.send_signal(number)
        output, errors = started.communicate(timeout=10)
    assert started.returncode == 0
    assert (output, errors) == ("", "")


def test_a_port_in_use_is_one_sentence_and_status_2(tmp_path: Path, server: LocalKMS) -> None:
    port = server.url.rpartition(":")[2]
    with process("--port", port, "--state", tmp_path / "kms.sqlite3") as started:
        output, errors = started.communicate(timeout=30)
    assert started.returncode == 2
    assert output == ""
    assert re.fullmatch(rf"kms: 127\.0\.0\.1:{port} cannot be listened on: .*\n", errors)


def test_a_host_off_loopback_is_one_sentence_and_status_2(tmp_path: Path) -> None:
    state = tmp_path / "kms.sqlite3"
    with process("--host", EVERYWHERE, "--port", "0", "--state", state) as started:
        output, errors = started.communicate(timeout=30)
    assert started.returncode == 2
    assert errors == "kms: 0.0.0.0 is not loopback, and this KMS is for this machine only.\n"
    assert (output, state.exists()) == ("", False)


def test_two_processes_do_not_share_a_state(tmp_path: Path) -> None:
    state = tmp_path / "kms.sqlite3"
    with running_kms(state), process("--port", "0", "--state", state) as second:
        _, errors = second.communicate(timeout=30)
    assert second.returncode == 2
    assert errors.endswith("cannot be opened: is another local KMS using it?\n")


def test_it_imports_neither_django_nor_the_other_packages() -> None:
    program = (
        "import sys, gateway_site.local.kms.__main__\n"
        "print([m for m in sys.modules"
        " if m.split('.')[0] in ('django', 'sessions_kms', 'oauth', 'boto3', 'botocore')])"
    )
    assert printed_by(program) == "[]"
