"""The known-answer vectors, read by the package and by the second implementation alike."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import InvalidRecord, SessionMoved, StoreUnavailable
from sessions_kms.format.item_types import session_id
from sessions_kms.format.serializer import codec_of
from sessions_kms.sealed_items.sealing import Sealing
from tests import ROOT
from tests.sessions_kms.support import reference_format
from tests.sessions_kms.support.stacks import install
from tests.sessions_kms.support.vector_services import open_by_reference, services_of
from tests.support.cases import each_case
from tests.vectors import generate
from tests.vectors.vector import FOLDER, NAMES, Vector, from_dynamodb_json, load

DOCUMENT = ROOT / "docs" / "format.md"
SECURITY_LOG = "django.security.SuspiciousSession"

# The others are ended, or have a malformed cookie: the engine's own checks.
READABLE = [
    name
    for name in NAMES
    if load(name).outcome in {"session", "invalid"} and "encryptedData" in load(name).item
]


@pytest.mark.parametrize("name", NAMES)
def test_engine_loads_exactly_the_sessions(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger=SECURITY_LOG)
    vector = load(name)
    install(services_of(vector))
    session = SessionStore(vector.session_key)
    if vector.outcome in {"cannot tell", "moved"}:
        error = SessionMoved if vector.outcome == "moved" else StoreUnavailable
        with pytest.raises(error):
            session.load()
        assert session.session_key == vector.session_key
        assert SECURITY_LOG not in {record.name for record in caplog.records}
        return
    assert session.load() == (json.loads(vector.plaintext) if vector.plaintext else {})
    assert (session.session_key is None) == (vector.outcome != "session")
    refusal = f"Session record {session_id(vector.namespace, vector.session_key)[:8]}... refused:"
    logged = [each.getMessage() for each in caplog.records if each.name == SECURITY_LOG]
    assert logged == ([f"{refusal} {vector.reason}"] if vector.reason else [])


@each_case("name", READABLE)
def test_package_refuses_with_the_reason(name: str) -> None:
    vector = load(name)
    if vector.plaintext is not None:
        assert opened_by_package(vector) == vector.plaintext.encode()
        return
    if vector.outcome == "cannot tell":
        with pytest.raises(StoreUnavailable):
            opened_by_package(vector)
        return
    with pytest.raises(InvalidRecord) as caught:
        opened_by_package(vector)
    assert caught.value.reason == vector.reason


def opened_by_package(vector: Vector) -> bytes:
    services = services_of(vector)
    record = run_sync(services.session_items.get(session_id(vector.namespace, vector.session_key)))
    assert record is not None
    plaintext = run_sync(Sealing(services).open(record, vector.session_key))
    codec_of(SessionStore().serializer).loads(plaintext)
    return plaintext


@each_case("name", NAMES)
def test_second_implementation_agrees(name: str) -> None:
    vector = load(name)
    if vector.plaintext is not None:
        assert open_by_reference(vector) == vector.plaintext.encode()
    elif vector.outcome == "none":
        with pytest.raises(reference_format.NoSession):
            open_by_reference(vector)
    elif vector.outcome == "moved":
        with pytest.raises(reference_format.Moved):
            open_by_reference(vector)
    else:
        error: type[Any] = reference_format.Invalid
        if vector.outcome == "cannot tell":
            error = reference_format.CannotTell
        with pytest.raises(error) as caught:
            open_by_reference(vector)
        assert caught.value.reason == vector.reason


def test_files_equal_the_output_of_the_generator() -> None:
    paths = {str(path.relative_to(FOLDER)): path for path in FOLDER.rglob("*.json")}
    written = {name: path.read_text(encoding="ascii") for name, path in paths.items()}
    assert written == generate.files()


def test_most_vectors_are_failures() -> None:
    outcomes = [load(name).outcome for name in NAMES]
    assert outcomes.count("session") >= 10
    assert outcomes.count("invalid") >= 5 * outcomes.count("session")


def test_second_implementation_imports_nothing_of_the_package() -> None:
    for path in (Path(reference_format.__file__), *FOLDER.glob("*.py")):
        imports = re.findall(
            r"^\s*(?:from|import) .*", path.read_text(encoding="utf-8"), re.MULTILINE
        )
        # The package's tests, which live beside its second implementation, are no part of it.
        assert not re.search(r"(?<!tests\.)\bsessions_kms\b", "\n".join(imports)), path


def test_document_shows_the_vector() -> None:
    shown = re.findall(r"```json\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    vector = load("signed_in")
    assert from_dynamodb_json(json.loads(shown[0])) == vector.item


def test_document_shows_info_associated_data_and_keys() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    vector = load("signed_in")
    blob, _, data_key = vector.kms[0]
    key, commitment = reference_format.derive(
        data_key, vector.session_key, vector.namespace, vector.item
    )
    tables = re.findall(r"its bytes in hex:\n\n```text\n(.*?)```", text, re.DOTALL)
    parts = reference_format.info_fields, reference_format.associated_fields
    for table, fields_of in zip(tables, parts, strict=True):
        fields = fields_of(vector.namespace, vector.item)
        shown = [line.split()[:2] for line in table.splitlines()]
        assert [bytes.fromhex(field) for _, field in shown] == fields
        joined = bytes.fromhex("".join(part for line in shown for part in line))
        assert joined == reference_format.prefix_lengths(fields)
    assert blob == vector.item["encryptedKey"]["B"]
    for value in (data_key.hex(), key.hex(), commitment.hex(), vector.session_key):
        assert value in text
