"""The vectors of leases, data keys, cutoffs and checkpoints, read by package and second program."""

import hmac
import json
from typing import Any

from gateway_site.audit.chain import read_line
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import InvalidRecord, StoreUnavailable
from sessions_kms.operations.audit_writers import AuditWriters
from sessions_kms.sealed_items.leases import Leases
from sessions_kms.storage.not_before import NotBefore
from tests.sessions_kms.support import reference_format as ref
from tests.sessions_kms.support import reference_items as items
from tests.sessions_kms.support.vector_services import services_of
from tests.support.cases import each_case
from tests.vectors.others import CHECKPOINTS, CUTOFFS, DATA_KEYS, LEASES
from tests.vectors.vector import FOLDER, Vector, load

Content = dict[str, Any]
CANNOT_TELL, INVALID = {"outcome": "cannot tell"}, {"outcome": "invalid"}


def names_in(folder: str) -> list[str]:
    return [f"{folder}/{path.stem}" for path in sorted((FOLDER / folder).glob("*.json"))]


def vector_content(name: str) -> tuple[Content, Vector]:
    content: Content = json.loads((FOLDER / f"{name}.json").read_text("ascii"))
    return content, load(name, sessionKey="", absoluteTimeout=None, notBefore=0)


def unwrap_of(vector: Vector) -> ref.Unwrap:
    def unwrap(encrypted_key: bytes, period: int) -> bytes:
        found = vector.unwrap(encrypted_key, ref.encryption_context(vector.namespace, period))
        if found is None:
            raise ref.Invalid("encrypted_key")
        return found

    return unwrap


class Taking(Leases):
    """Takes a free lease without a table to write to."""

    async def _put(self, *_: Any) -> bool:
        return True


def lease_by_package(content: Content, vector: Vector) -> Content:
    try:
        claim = run_sync(
            Taking(services_of(vector)).claim(content["leaseSecret"], "other", seconds=15)
        )
    except StoreUnavailable:
        return CANNOT_TELL
    if claim.result is not None:
        return {"outcome": "result", "plaintext": claim.result.decode()}
    if claim.held:
        return {"outcome": "free"}
    return {"outcome": "held", "until": vector.now + claim.wait}


def lease_by_second_program(content: Content, vector: Vector) -> Content:
    try:
        found = items.open_lease(
            vector.item,
            namespace=vector.namespace,
            secret=content["leaseSecret"],
            now=vector.now,
            unwrap=unwrap_of(vector),
        )
    except items.Held as held:
        return {"outcome": "held", "until": held.args[0]}
    except items.Free:
        return {"outcome": "free"}
    except ref.CannotTell:
        return CANNOT_TELL
    return {"outcome": "result", "plaintext": found.decode()}


def data_key_by_package(content: Content, vector: Vector) -> Content:
    services = services_of(vector)
    try:
        found = run_sync(services.data_key_items.get(content["period"]))
    except InvalidRecord:
        return {"outcome": "unusable"}
    except StoreUnavailable:
        return CANNOT_TELL
    assert found is not None
    try:
        key = run_sync(services.keyring.unwrap(found.encrypted, found.period))
    except InvalidRecord:
        return {"outcome": "replace"}
    return {"outcome": "data key", "dataKey": key.plaintext.hex()}


def data_key_by_second_program(content: Content, vector: Vector) -> Content:
    try:
        found = items.published_key(
            vector.item,
            namespace=vector.namespace,
            period=content["period"],
            unwrap=unwrap_of(vector),
        )
    except items.Unusable:
        return {"outcome": "unusable"}
    except ref.CannotTell:
        return CANNOT_TELL
    except ref.Invalid:
        return {"outcome": "replace"}
    return {"outcome": "data key", "dataKey": found.hex()}


@each_case("name", names_in(LEASES) + names_in(DATA_KEYS))
def test_lease_or_published_data_key_is_read_as_expected(name: str) -> None:
    content, vector = vector_content(name)
    readers = (
        (lease_by_package, lease_by_second_program)
        if name.startswith(f"{LEASES}/")
        else (data_key_by_package, data_key_by_second_program)
    )
    assert [read(content, vector) for read in readers] == [content["expected"]] * 2


@each_case("name", names_in(CUTOFFS))
def test_cutoff_is_read_as_expected(name: str) -> None:
    content, vector = vector_content(name)
    read = services_of(vector).not_before_items.get
    try:
        moment = run_sync(NotBefore(read, at_least=0, clock=lambda: vector.now).moment())
        by_package: int | None = moment
    except StoreUnavailable:
        by_package = None
    expected = content["expected"]
    ignored = expected["outcome"] == "ignored"
    assert by_package == (0 if ignored else expected.get("notBefore"))
    try:
        found = items.cutoff(vector.item, namespace=vector.namespace, now=vector.now)
    except ref.CannotTell:
        assert expected == CANNOT_TELL
    else:
        assert found == expected.get("notBefore")
        assert (found is None) == ignored


@each_case("name", names_in(CHECKPOINTS))
def test_checkpoint_is_read_as_expected(name: str) -> None:
    content, vector = vector_content(name)
    key = bytes.fromhex(content["macKey"])

    def verify(message: bytes, mac: bytes) -> bool:
        return hmac.compare_digest(hmac.digest(key, message, "sha256"), mac)

    assert checkpoint_by_package(content, vector, verify) == content["expected"]
    try:
        number, digest = items.checkpoint(
            vector.item, namespace=vector.namespace, writer=content["writer"], verify=verify
        )
    except ref.Invalid:
        assert content["expected"] == INVALID
    else:
        assert content["expected"] == {"outcome": "valid", "number": number, "digest": digest}


def checkpoint_by_package(content: Content, vector: Vector, verify: Any) -> Content:
    try:
        stored = AuditWriters(services_of(vector)).get(content["writer"])
    except InvalidRecord:
        return INVALID
    assert stored is not None
    line = read_line(stored.checkpoint)
    if line is None or (line.writer, line.number) != (content["writer"], stored.number):
        return INVALID
    if not verify(line.message, line.mac):
        return INVALID
    return {"outcome": "valid", "number": line.number, "digest": line.digest}


def test_most_are_failures() -> None:
    for folder, good in ((LEASES, 5), (DATA_KEYS, 3), (CUTOFFS, 3), (CHECKPOINTS, 1)):
        assert len(names_in(folder)) >= 2 * good
