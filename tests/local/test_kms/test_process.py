"""The command as a process: durable state, one owner, one sentence for a failed start."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError

from tests.local.test_kms.clients import clients, fails
from tests.support.local_kms import LocalKMS, running_kms
from tests.support.processes import lines_until, output_of, started


@contextmanager
def process(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Start the command; kill it at the end if it still runs."""
    command = [sys.executable, "-W", "error", "-m", "gateway_site.local.kms", *map(str, arguments)]
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        yield running


def wait_until_listening(running: subprocess.Popen[str]) -> str:
    """Return the URL in the process's first line."""
    (line,) = lines_until(running)
    found = re.fullmatch(r"kms listening on (http://127\.0\.0\.1:\d+)\n", line)
    assert found, line
    return found[1]


def test_what_was_answered_survives_kill_9(tmp_path: Path) -> None:
    state = tmp_path / "kms.sqlite3"
    with (
        process("--port", "0", "--state", state) as first,
        clients(wait_until_listening(first)) as connect,
    ):
        kms = connect()
        key = kms.create_key()["KeyMetadata"]["Arn"]
        kms.create_alias(AliasName="alias/app", TargetKeyId=key)
        made = kms.generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext={"a": "b"})
        sealed = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
        disabled = kms.create_key()["KeyMetadata"]["Arn"]
        kms.disable_key(KeyId=disabled)
        os.kill(first.pid, signal.SIGKILL)
        first.wait(10)
    with (
        process("--port", "0", "--state", state) as second,
        clients(wait_until_listening(second)) as connect,
    ):
        kms = connect()
        opened = kms.decrypt(
            CiphertextBlob=made["CiphertextBlob"], KeyId="alias/app", EncryptionContext={"a": "b"}
        )
        assert opened["Plaintext"] == made["Plaintext"]
        assert kms.decrypt(CiphertextBlob=sealed, KeyId=key)["Plaintext"] == b"x"
        with fails("DisabledException"):
            kms.encrypt(KeyId=disabled, Plaintext=b"x")


def test_every_key_that_was_answered_survives_a_kill_during_writes(tmp_path: Path) -> None:
    state = tmp_path / "kms.sqlite3"
    answered: list[str] = []
    with (
        process("--port", "0", "--state", state) as first,
        clients(wait_until_listening(first)) as connect,
    ):
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
    with (
        process("--port", "0", "--state", state) as second,
        clients(wait_until_listening(second)) as connect,
    ):
        for key in answered:
            connect().generate_data_key(KeyId=key, KeySpec="AES_256")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly_and_prints_no_secret(tmp_path: Path, number: signal.Signals) -> None:
    with process("--port", "0", "--state", tmp_path / "kms.sqlite3") as started:
        with clients(wait_until_listening(started)) as connect:
            key = connect().create_key()["KeyMetadata"]["Arn"]
            blob = connect().encrypt(KeyId=key, Plaintext=b"canary-plaintext")["CiphertextBlob"]
            with fails("InvalidCiphertextException"):
                connect().decrypt(KeyId=key, CiphertextBlob=blob[:-1])
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
    assert re.fullmatch(rf"kms: Cannot listen on 127\.0\.0\.1:{port}: .*\n", errors)


def test_a_port_that_does_not_exist_is_one_sentence_and_status_2(tmp_path: Path) -> None:
    with process("--port", "65536", "--state", tmp_path / "kms.sqlite3") as started:
        _, errors = started.communicate(timeout=30)
    assert started.returncode == 2
    assert errors.startswith("kms: Cannot listen on 127.0.0.1:65536: no such port.")


def test_two_processes_do_not_share_a_state(tmp_path: Path) -> None:
    state = tmp_path / "kms.sqlite3"
    with running_kms(state), process("--port", "0", "--state", state) as second:
        _, errors = second.communicate(timeout=30)
    assert second.returncode == 2
    assert errors == f"kms: Cannot open {state}: is another local KMS using it?\n"


def test_it_imports_neither_django_nor_the_other_packages() -> None:
    program = (
        "import sys, gateway_site.local.kms.__main__\n"
        "print([m for m in sys.modules"
        " if m.split('.')[0] in ('django', 'sessions_kms', 'oauth', 'boto3', 'botocore')])"
    )
    assert output_of(program) == "[]"
