"""The vectors of session metadata, read by the package and by a second program."""

import json
from typing import Any

import pytest

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.sealed_items import about
from tests.sessions_kms.support import reference_format
from tests.sessions_kms.support.reference_format import CannotTell, Invalid, NoSession
from tests.sessions_kms.support.vector_services import services_of
from tests.support.cases import each_case
from tests.vectors.telling import FOLDER as NAME
from tests.vectors.vector import FOLDER, Vector, load

PATHS = sorted((FOLDER / NAME).glob("*.json"))
every_vector = each_case("name", [path.stem for path in PATHS])


def content_of(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / NAME / f"{name}.json").read_text("ascii"))
    return content


def vector_of(name: str) -> Vector:
    """Return what a reader is given, which is no session's."""
    return load(f"{NAME}/{name}", sessionKey="", notBefore=0)


@every_vector
def test_package_reads_exactly_the_expected_words(name: str) -> None:
    content, vector = content_of(name), vector_of(name)
    words = content["expected"].get("words", {})
    if vector.item["id"]["S"] == about.id_of(services_of(vector), content["sessionId"]):
        assert (
            run_sync(about.SessionMetadata(services_of(vector)).read(content["sessionId"])) == words
        )
    else:
        assert content["expected"] == {"outcome": "none"}


@every_vector
def test_second_program_agrees(name: str) -> None:
    content, vector = content_of(name), vector_of(name)

    def unwrap(encrypted_key: bytes, period: int) -> bytes:
        context = reference_format.encryption_context(vector.namespace, period)
        return vector.unwrap(encrypted_key, context) or b""

    def open_all() -> dict[str, str]:
        return reference_format.open_about(
            vector.item,
            namespace=vector.namespace,
            of=content["sessionId"],
            now=vector.now,
            unwrap=unwrap,
            absolute_timeout=content["absoluteTimeout"],
            grant_timeout=content["grantTimeout"],
        )

    if content["expected"]["outcome"] == "about":
        assert open_all() == content["expected"]["words"]
    else:
        with pytest.raises((NoSession, Invalid, CannotTell)):
            open_all()


def test_most_are_failures() -> None:
    outcomes = [content_of(path.stem)["expected"]["outcome"] for path in PATHS]
    assert outcomes.count("none") >= 2 * outcomes.count("about") > 0
