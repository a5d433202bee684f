"""The vectors of tokens, read by the package and by a second program."""

import json
from typing import Any

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.sealed_items.tokens import SealedToken, Tokens, TokenTombstone
from tests.sessions_kms.support import reference_format
from tests.sessions_kms.support.reference_format import CannotTell, Invalid, NoSession
from tests.sessions_kms.support.vector_services import services_of
from tests.support.cases import each_case
from tests.vectors.opening import FOLDER as NAME
from tests.vectors.vector import FOLDER, Vector, load

PATHS = sorted((FOLDER / NAME).glob("*.json"))
every_vector = each_case("name", [path.stem for path in PATHS])
MALFORMED = {"token_malformed", "token_newline", "token_of_another_kind"}


def content_of(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / NAME / f"{name}.json").read_text("ascii"))
    return content


def vector_of(name: str) -> Vector:
    """Return what a reader is given, which is no session's."""
    return load(f"{NAME}/{name}", sessionKey="", absoluteTimeout=None, notBefore=0)


def is_answer(vector: Vector) -> bool:
    return bool(vector.item["id"]["S"].startswith("answer#"))


def open_content(content: dict[str, Any], vector: Vector) -> dict[str, Any]:
    """Return what the package opens with the token."""
    tokens = Tokens(services_of(vector))
    try:
        if is_answer(vector):
            response = run_sync(tokens.answer(content["token"], content["verifier"] or ""))
            return (
                {"outcome": "none"}
                if response is None
                else {"outcome": "answer", "content": json.loads(response)}
            )
        found = run_sync(tokens.find(content["token"]))
    except StoreUnavailable:
        return {"outcome": "cannot tell"}
    if isinstance(found, SealedToken):
        return {"outcome": "token", "content": json.loads(found.content)}
    if isinstance(found, TokenTombstone):
        return {"outcome": "tombstone", "session": found.session, "spentAt": found.spent_at}
    return {"outcome": "none"}


@each_case("name", [path.stem for path in PATHS if path.stem not in MALFORMED])
def test_package_opens_exactly_that(name: str) -> None:
    content = content_of(name)
    assert open_content(content, vector_of(name)) == content["expected"]


@every_vector
def test_second_program_agrees(name: str) -> None:
    content, vector = content_of(name), vector_of(name)
    assert see_content(content, vector) == content["expected"]


def see_content(content: dict[str, Any], vector: Vector) -> dict[str, Any]:
    def unwrap(encrypted_key: bytes, period: int) -> bytes:
        context = reference_format.encryption_context(vector.namespace, period)
        return vector.unwrap(encrypted_key, context) or b""

    given: Any = {name: content[name] for name in ("namespace", "token", "now")}
    given["grant_timeout"] = content["grantTimeout"]
    try:
        if is_answer(vector):
            found = reference_format.open_answer(
                vector.item, **given, verifier=content["verifier"] or "", unwrap=unwrap
            )
            return {"outcome": "answer", "content": found}
        found = reference_format.open_token(vector.item, **given, unwrap=unwrap)
    except (NoSession, Invalid):
        return {"outcome": "none"}
    except CannotTell:
        return {"outcome": "cannot tell"}
    if isinstance(found, tuple):
        return {"outcome": "tombstone", "session": found[0], "spentAt": found[1]}
    return {"outcome": "token", "content": found}


def test_most_are_failures() -> None:
    outcomes = [content_of(path.stem)["expected"]["outcome"] for path in PATHS]
    assert {"token", "answer", "tombstone", "cannot tell"} < set(outcomes)
    assert outcomes.count("none") > len(outcomes) / 2
