"""The HMAC key of an audit log: each fault is provoked and found."""

from collections.abc import Callable

import pytest

from gateway_site.local.kms import policy
from tests.sessions_kms.support import checked_store
from tests.sessions_kms.support.check_ids import WITH_AUDIT_KEY
from tests.sessions_kms.support.checked_store import REGION, Store, check, client, new_key

pytestmark = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)
store = checked_store.store
ACCOUNT = "123456789012"


def disable(key: str) -> str:
    client("kms").disable_key(KeyId=key)
    return key


def deny(action: str) -> Callable[[str], str]:
    def deny_action(key: str) -> str:
        denial = policy.build_denial(ACCOUNT, "testing", action)
        client("kms").put_key_policy(KeyId=key, PolicyName="default", Policy=denial)
        return key

    return deny_action


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
        (deny("kms:GenerateMac"), {"right kms:GenerateMac": "denied"}),
        (deny("kms:VerifyMac"), {}),
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


def test_without_an_audit_key_nothing_is_found(store: Store) -> None:
    _, report = check("--no-canary")
    assert not {each["name"] for each in report["checks"]} & set(WITH_AUDIT_KEY)
