"""The Dockerfile and the compose files: nothing floats, nothing is root, and no secret is in them.

`make image-check` builds and runs the image (tests/image).
"""

import re
import socket
import ssl
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway_site import variables
from tests import ROOT
from tests.support.certificates import server_context
from tests.support.processes import run_to_end

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
LINES = DOCKERFILE.replace("\\\n", " ").splitlines()
PINNED = re.compile(r"[a-z./]+:[\w.-]+@sha256:[0-9a-f]{64}")
COMPOSE = [ROOT / "compose.yaml", ROOT / "compose.aws.yaml"]


def instructions(name: str) -> list[str]:
    return [line.split(None, 1)[1] for line in LINES if line.startswith(f"{name} ")]


def services(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["services"]
    return found


def test_each_base_is_pinned_by_the_same_digest() -> None:
    stages = [line.split(" AS ")[1] for line in instructions("FROM")]
    bases = {line.split(" AS ")[0] for line in instructions("FROM")} - set(stages)
    assert len(bases) == 1
    assert PINNED.fullmatch(bases.pop())


def test_whole_lock_is_installed_with_hashes_and_nothing_else_from_an_index() -> None:
    installed = [
        step for line in instructions("RUN") for step in line.split("&&") if " install " in step
    ]
    from_index = [step for step in installed if "pip" in step and "--no-index" not in step]
    assert len(from_index) == 3
    assert all("--require-hashes" in step and "requirements/" in step for step in from_index)


def test_image_sets_only_the_folder_of_its_files_and_the_format_of_its_log() -> None:
    declared = " ".join(instructions("ENV") + instructions("ARG"))
    names = re.findall(r"([A-Z_]+)(?:=|$)", declared)
    assert [name for name in names if variables.is_known(name)] == [
        "STATIC_ROOT",
        "LOG_FORMAT",
    ]


VERIFYING = """
import sys, psycopg
try:
    psycopg.connect(sys.argv[1])
except psycopg.OperationalError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("is_set", [True, False])
def test_variable_of_the_image_names_the_authorities_of_postgresql_s_certificate(
    tmp_path: Path,
    is_set: bool,
) -> None:
    assert " ca-certificates " in " ".join(instructions("RUN"))
    [name] = re.findall(r"(\w+)=/etc/ssl/certs/ca-certificates\.crt", " ".join(instructions("ENV")))
    certificate = tmp_path / "certificate.pem"
    context = server_context(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with listener.accept()[0] as client:
                client.recv(8)
                client.sendall(b"S")  # It has TLS.
                with suppress(ssl.SSLError), context.wrap_socket(client, server_side=True) as tls:
                    tls.recv(1000)

        thread = threading.Thread(target=accept)
        thread.start()
        port = listener.getsockname()[1]
        url = f"postgresql://user@127.0.0.1:{port}/name?sslmode=verify-full&sslrootcert=system"
        env = {name: str(certificate)} if is_set else {}
        done = run_to_end([sys.executable, "-c", VERIFYING, url], env)
        thread.join()
    expected = "unexpected eof" if is_set else "certificate verify failed"
    assert expected in done.stdout  # The server says nothing more.


def test_build_sees_only_what_it_copies() -> None:
    first, *rest = [
        line
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    assert first == "*"
    seen = {line.removeprefix("!") for line in rest if line.startswith("!")}
    copied = {
        word
        for line in instructions("COPY")
        if not line.startswith("--from")
        for word in line.split()[:-1]
    }
    assert seen == copied


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_services_that_we_build_can_write_to_tmp_only_and_do_nothing_as_root(path: Path) -> None:
    ours = {name: each for name, each in services(path).items() if "build" in each}
    assert ours
    for each in ours.values():
        assert each["build"]["target"] in re.findall(r" AS (\w+)$", DOCKERFILE, re.MULTILINE)
        assert each["read_only"] is True
        assert each["tmpfs"] == ["/tmp"]  # noqa: S108 - the container's
        assert each["cap_drop"] == ["ALL"]
        assert each["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in each
        assert "user" not in each


def test_audit_file_has_a_volume_that_the_image_s_user_can_write_to() -> None:
    compose = yaml.safe_load((ROOT / "compose.aws.yaml").read_text(encoding="utf-8"))
    for each in ("gateway", "migrate"):
        [mount] = compose["services"][each]["volumes"]
        volume, folder = mount.split(":")
        assert volume in compose["volumes"]
        assert f"--chown=10001:10001 --chmod=0700 /empty {folder}" in DOCKERFILE
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert f"\n# AUDIT_FILE={folder}/" in example


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_secrets_are_files_and_other_images_are_pinned(path: Path) -> None:
    for each in services(path).values():
        if "image" in each:
            assert PINNED.fullmatch(each["image"])
        for name, value in each.get("environment", {}).items():
            assert not variables.is_secret(name)
            assert not name.endswith("PASSWORD")
            if name.endswith("_FILE"):
                assert value.removeprefix("/run/secrets/") in each["secrets"]


def test_migration_is_a_task_and_not_part_of_the_start() -> None:
    found = services(ROOT / "compose.aws.yaml")
    assert found["migrate"]["profiles"] == ["tasks"]
    assert found["migrate"]["command"] == ["migrate"]
    assert "command" not in found["gateway"]
    assert instructions("CMD")[-1] == '["serve"]'


def test_only_the_proxy_on_this_machine_reaches_the_gateway() -> None:
    assert services(ROOT / "compose.aws.yaml")["gateway"]["ports"] == ["127.0.0.1:8000:8000"]
    assert "ports" not in services(ROOT / "compose.aws.yaml")["database"]
