"""The HMAC key of an audit log: each fault is provoked and found."""

from collections.abc import Callable

import pytest

from tests.sessions_kms.support import checked_store
from tests.sessions_kms.support.check_ids import WITH_AUDIT_KEY
from tests.sessions_kms.support.checked_store import (
    REGION,
    Store,
    check,
    client,
    new_key,
    proxied,
)
from tests.sessions_kms.support.faults import error
from tests.support.local_kms import LocalKMS

pytestmark = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)
store = checked_store.store
ACCOUNT = "123456789012"


def disable(key: str) -> str:
    client("kms").disable_key(KeyId=key)
    return key


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda key: key, {}),
        (disable, {"audit key": "Disabled"}),
        (lambda _: new_key(), {"audit key": "SYMMETRIC_DEFAULT for ENCRYPT_DECRYPT"}),
        (
            lambda _: f"arn:aws:kms:{REGION}:{ACCOUNT}:key/00000000-0000-0000-0000-000000000000",
            {"audit key": "does not exist in eu-west-1"},
        ),
    ],
)
def test_fault_of_the_audit_key_is_found(
    store: Store, change: Callable[[str], str], wrong: dict[str, str]
) -> None:
    made = client("kms").create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    store.configure(AUDIT_KEY_ID=change(made["KeyMetadata"]["Arn"]))
    _, report = check("--no-canary")
    found = {each["name"]: each for each in report["checks"] if each["name"] in WITH_AUDIT_KEY}
    failing = {name: each["detail"] for name, each in found.items() if each["level"] != "ok"}
    assert found.keys() >= {"audit key", *wrong}
    assert {name: failing[name] for name in wrong if wrong[name] in failing[name]} == {
        name: failing[name] for name in wrong
    }
    assert set(failing) - set(wrong) <= (
        {"right kms:GenerateMac"} if "audit key" in wrong else set()
    )


def test_denied_right_on_the_audit_key_is_found(
    store: Store, local_kms: LocalKMS, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = client("kms").create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    store.configure(AUDIT_KEY_ID=made["KeyMetadata"]["Arn"])
    with proxied("KMS", local_kms.url, monkeypatch) as proxy:
        proxy.on("GenerateMac", error("AccessDeniedException"))
        proxy.on("VerifyMac", error("AccessDeniedException"))  # which the site does not need
        _, report = check("--no-canary")
    found = {each["name"]: each for each in report["checks"] if each["name"] in WITH_AUDIT_KEY}
    wrong = {name: each["detail"] for name, each in found.items() if each["level"] != "ok"}
    assert wrong.keys() == {"right kms:GenerateMac"}
    assert wrong["right kms:GenerateMac"].startswith("denied")


def test_without_an_audit_key_nothing_is_found(store: Store) -> None:
    _, report = check("--no-canary")
    assert not {each["name"] for each in report["checks"]} & set(WITH_AUDIT_KEY)
