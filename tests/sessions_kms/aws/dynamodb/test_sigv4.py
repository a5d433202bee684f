"""Signatures: AWS's own vectors, and the same ones as botocore's signer makes, at random."""

import os
import random
import string
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.auth
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from sessions_kms.aws.dynamodb.request import Signer
from tests.support.cases import each_case

# Of https://github.com/awslabs/aws-c-auth/tree/main/tests/aws-signing-test-suite/v4, those that
# POST to `/` without a query.
MOMENT = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
ACCESS_KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfI"
    "eoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0"
    "wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDry"
    "pNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)
FORM = "application/x-www-form-urlencoded"
SHA256_OF_FORM = "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"
FORM_HEADERS = {"Content-Length": "13", "x-amz-content-sha256": SHA256_OF_FORM}
VECTORS: dict[str, tuple[dict[str, str], bytes, str | None, str]] = {
    "post-vanilla": (
        {},
        b"",
        None,
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    "post-header-key-sort": (
        {"My-Header1": "value1"},
        b"",
        None,
        "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
    ),
    "post-header-value-case": (
        {"My-Header1": "VALUE1"},
        b"",
        None,
        "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
    ),
    "post-sts-header-before": (
        {},
        b"",
        TOKEN,
        "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
    ),
    "post-x-www-form-urlencoded": (
        {"Content-Type": FORM, **FORM_HEADERS},
        b"Param1=value1",
        None,
        "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
    ),
    "post-x-www-form-urlencoded-parameters": (
        {"Content-Type": f"{FORM}; charset=utf-8", **FORM_HEADERS},
        b"Param1=value1",
        None,
        "328d1b9eaadca9f5818ef05e8392801e091653bafec24fcab71e7344e7f51422",
    ),
}


def sign_headers(
    signer: Signer, headers: dict[str, str], body: bytes, credentials: Any, at: datetime
) -> dict[str, str]:
    """Return the headers that sign a request."""
    signing = signer.signing(headers, credentials, at)
    authorization = signing.headers["Authorization"] + signing.signature(body)
    return {**signing.headers, "Authorization": authorization}


REQUESTS = 100_000 if os.environ.get("FUZZ_EXAMPLES") else 2_000


@each_case("name", VECTORS)
def test_signature_is_the_one_that_aws_published(name: str) -> None:
    headers, body, token, signature = VECTORS[name]
    found = sign_headers(
        Signer("us-east-1", "service"),
        {"Host": "example.amazonaws.com", **headers},
        body,
        ReadOnlyCredentials(ACCESS_KEY, SECRET, token),
        MOMENT,
    )
    assert found["Authorization"].endswith(f", Signature={signature}")
    assert found.get("X-Amz-Security-Token") == token


def test_day_and_secret_each_have_a_key_of_their_own() -> None:
    """A signer that was used before signs as a new one does."""
    used = Signer("eu-west-1", "dynamodb")
    for secret, hours in (("a", 0), ("b", 0), ("b", 24), ("a", 24), ("a", 0)):
        credentials = ReadOnlyCredentials("id", secret, None)
        at = MOMENT + timedelta(hours=hours)
        fresh = sign_headers(Signer("eu-west-1", "dynamodb"), {"Host": "h"}, b"", credentials, at)
        assert sign_headers(used, {"Host": "h"}, b"", credentials, at) == fresh


def test_moment_of_another_zone_is_signed_as_the_same_one() -> None:
    from zoneinfo import ZoneInfo

    signer, credentials = Signer("us-east-1", "service"), ReadOnlyCredentials("id", "key", None)
    elsewhere = MOMENT.astimezone(ZoneInfo("Asia/Kathmandu"))
    assert sign_headers(signer, {}, b"", credentials, elsewhere) == sign_headers(
        signer, {}, b"", credentials, MOMENT
    )


TEXT = string.ascii_letters + string.digits + "/+=-._~:; \t\"'%"


def text(chance: random.Random, most: int) -> str:
    return "".join(chance.choices(TEXT, k=chance.randint(1, most)))


def any_request(chance: random.Random) -> tuple[str, dict[str, str], bytes]:
    host = "".join(chance.choices(string.ascii_lowercase + string.digits, k=12)) + ".example"
    port = chance.choice(("", ":8000", ":65535"))
    headers = {"Content-Type": text(chance, 30), "X-Amz-Target": text(chance, 40)}
    headers |= {
        f"X-{chance.getrandbits(32):x}": text(chance, 20) for _ in range(chance.choice((0, 2)))
    }
    return f"https://{host}{port}/", headers, chance.randbytes(chance.choice((0, 1, 90, 2000)))


@pytest.mark.slow
def test_signature_is_the_one_that_botocore_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(15)  # noqa: S311 - to be told again
    now: list[datetime] = []
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: now[-1])
    signers = {
        (region, service): Signer(region, service)
        for region in ("eu-west-1", "us-gov-east-1", "a b")
        for service in ("dynamodb", "kms")
    }
    for _ in range(REQUESTS):
        (region, service), signer = chance.choice(list(signers.items()))
        url, headers, body = any_request(chance)
        token = chance.choice((None, "", text(chance, 300)))
        credentials = ReadOnlyCredentials(text(chance, 20), text(chance, 40), token)
        now.append(MOMENT + timedelta(seconds=chance.randint(0, 10**9)))
        theirs = AWSRequest("POST", url, headers, body)
        their_signer: Any = SigV4Auth(credentials, service, region)
        their_signer.add_auth(theirs)
        host = {"Host": url.removeprefix("https://").rstrip("/")}
        ours = sign_headers(signer, {**headers, **host}, body, credentials, now[-1])
        assert {**headers, **ours} == dict(theirs.headers.items())


def test_signing_shows_no_key() -> None:
    signing = Signer("r", "s").signing({}, ReadOnlyCredentials("ID", "KEY", "TOKEN"), MOMENT)
    assert not {each for each in ("ID", "KEY", "TOKEN") if each in repr(signing)}
