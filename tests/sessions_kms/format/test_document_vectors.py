"""The vectors of documents, read by the package and by a second program."""

import json
from typing import Any

import pytest

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.sealed_items.documents import SealedDocuments
from tests.sessions_kms.support import reference_format
from tests.sessions_kms.support.vector_services import services_of
from tests.support.cases import each_case
from tests.vectors.shared import FOLDER as NAME
from tests.vectors.vector import FOLDER, Vector, load

PATHS = sorted((FOLDER / NAME).glob("*.json"))


def content_of(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / NAME / f"{name}.json").read_text("ascii"))
    return content


def read_by_second_program(vector: Vector, name: str) -> bytes:
    def unwrap(encrypted_key: bytes, period: int) -> bytes:
        context = reference_format.encryption_context(vector.namespace, period)
        return vector.unwrap(encrypted_key, context) or b""

    return reference_format.open_document(
        vector.item, namespace=vector.namespace, name=name, now=vector.now, unwrap=unwrap
    )


@each_case("case", [path.stem for path in PATHS])
def test_package_and_second_program_read_exactly_the_expected_content(case: str) -> None:
    vector = load(f"{NAME}/{case}", sessionKey="", absoluteTimeout=None, notBefore=0)
    content = content_of(case)
    documents = SealedDocuments(services_of(vector))
    if content["expected"]["outcome"] == "document":
        found = run_sync(documents.load(content["name"]))
        assert found is not None
        assert found.content == content["expected"]["content"].encode()
        assert read_by_second_program(vector, content["name"]) == found.content
        return
    if content["expected"]["outcome"] == "none":
        assert run_sync(documents.load(content["name"])) is None
        with pytest.raises(reference_format.NoSession):
            read_by_second_program(vector, content["name"])
        return
    with pytest.raises(StoreUnavailable):
        run_sync(documents.load(content["name"]))
    with pytest.raises((reference_format.Invalid, reference_format.CannotTell)):
        read_by_second_program(vector, content["name"])


def test_most_are_failures() -> None:
    outcomes = [content_of(path.stem)["expected"]["outcome"] for path in PATHS]
    assert outcomes.count("cannot tell") > outcomes.count("document") > 0
