"""`end_sessions --key-period`: the sessions of a data key that leaked, and no other key's."""

from dataclasses import replace
from typing import Any

import pytest

from sessions_kms import services
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.threads import Background
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.management.commands import end_sessions
from sessions_kms.services import id_of
from sessions_kms.storage.published_keys import PublishedKey
from sessions_kms.testing.kms import MemoryKMS
from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.support.commands import end
from tests.sessions_kms.support.fakes import FOREIGN_KEY
from tests.sessions_kms.support.sessions import is_alive, save_session
from tests.sessions_kms.support.stacks import Stack, install, on_aws, running_as
from tests.sessions_kms.support.stepping import as_coroutine, run_blocking

NOW = 1_800_000_000
PERIOD = NOW - NOW % 86_400
DATA_KEY = f"data-key#django#{PERIOD}"


@on_aws
def test_sessions_of_a_leaked_data_key_end_and_another_key_replaces_it(stack: Stack) -> None:
    leaked = [save_session(), save_session("7")]
    before = stack.items()[DATA_KEY]["encryptedKey"]
    done = end("--key-period", str(PERIOD), "--json")
    assert (done.status, done.json["deleted"]) == (0, 2)
    assert [is_alive(session) for session in leaked] == [False, False]
    item = stack.items()[DATA_KEY]
    assert item["encryptedKey"] != before
    assert item["replacedAt"] == {"N": str(NOW)}
    stack.clock.advance(300)
    session = save_session()
    assert next(iter(stack.sessions().values()))["encryptedKey"] == item["encryptedKey"]
    assert is_alive(session)


@on_aws
def test_sessions_sealed_under_the_old_key_during_the_wait_end_too(make_stack: MakeStack) -> None:
    stack = make_stack()
    save_session()
    other = services.build(stack.config, clock=stack.clock, sleep=lambda _: None)
    run_sync(other.sealing_key())
    late: list[SessionStore] = []

    def time_passes(seconds: float) -> None:
        if not late:  # Another process still holds the old data key.
            with running_as(other):
                late.append(save_session())
        stack.clock.advance(seconds)

    install(replace(stack.services, sleep=time_passes))
    done = end("--key-period", str(PERIOD), "--json")
    assert done.json["deleted"] == 2
    assert stack.sessions() == {}
    assert stack.clock() == NOW + 300


@on_aws
def test_sessions_sealed_by_an_idle_process_after_the_period_end_too(make_stack: MakeStack) -> None:
    stack = make_stack(data_key_cache_age=3600)
    save_session()
    other = services.build(stack.config, clock=stack.clock, sleep=lambda _: None)
    other.keyring._background = Background(None)  # type: ignore[attr-defined]  # Not in time.
    stack.clock.now = PERIOD + 86_400 - 100
    run_sync(other.sealing_key())
    stack.clock.advance(500)
    late: list[SessionStore] = []

    def time_passes(seconds: float) -> None:
        if not late:
            with running_as(other):
                late.append(save_session())
            (record,) = stack.sessions().values()
            assert record["keyPeriod"] == {"N": str(PERIOD)}
        stack.clock.advance(seconds)

    install(replace(stack.services, sleep=time_passes))
    assert end("--key-period", str(PERIOD), "--json").json["deleted"] == 2
    assert len(late) == 1
    assert stack.sessions() == {}


@on_aws
def test_second_run_keeps_sessions_under_the_new_key(stack: Stack) -> None:
    save_session()
    end("--key-period", str(PERIOD))
    item = stack.items()[DATA_KEY]
    stack.clock.advance(300)
    session = save_session()
    assert end("--key-period", str(PERIOD), "--json").json["deleted"] == 0
    assert stack.items()[DATA_KEY] == item
    assert is_alive(session)


@on_aws
def test_second_run_after_the_period_keeps_sessions_under_the_new_key(stack: Stack) -> None:
    end("--key-period", str(PERIOD))
    stack.clock.advance(300)
    session = save_session()
    stack.clock.now = PERIOD + 86_400 + 300
    assert end("--key-period", str(PERIOD), "--json").json["deleted"] == 0
    assert is_alive(session)


@on_aws
@pytest.mark.parametrize("encrypted", [b"", b"garbage"])
def test_damaged_published_item_keeps_no_session_of_a_past_period(
    stack: Stack, encrypted: bytes
) -> None:
    save_session()
    stack.clock.advance(2 * 86_400)
    stack.put_item(stack.items()[DATA_KEY] | {"encryptedKey": {"B": encrypted}})
    assert end("--key-period", str(PERIOD), "--json").json["deleted"] == 1


@on_aws
def test_data_key_of_a_past_period_is_not_replaced(stack: Stack) -> None:
    save_session()
    stack.clock.advance(86_400)
    later = save_session()
    item = stack.items()[DATA_KEY]
    assert end("--key-period", str(PERIOD), "--json").json["deleted"] == 1
    assert stack.items()[DATA_KEY] == item
    assert is_alive(later)


@pytest.mark.parametrize("moment", [PERIOD + 1, PERIOD + 3600, NOW])
def test_moment_at_which_no_period_began_is_refused_and_the_right_one_named(
    stack: Stack, moment: int
) -> None:
    save_session()
    before = stack.items()
    done = end("--key-period", str(moment))
    assert done.status == 2
    assert f"--key-period {PERIOD}." in done.err
    assert stack.items() == before


@on_aws
def test_earlier_period_of_another_length_is_recognised_by_its_published_key(
    make_stack: MakeStack,
) -> None:
    before = make_stack(data_key_period=3600)
    period = NOW - NOW % 3600 + 3600
    before.clock.advance(3600)
    save_session()
    now = replace(before.services, config=replace(before.config, data_key_period=86_400))
    install(now)
    done = end("--key-period", str(period), "--json")
    assert (done.status, done.json["deleted"]) == (0, 1)
    assert "replacedAt" in before.items()[f"data-key#django#{period}"]


def save_in_scans(stack: Stack, monkeypatch: pytest.MonkeyPatch, before: Any) -> list[None]:
    """Store a session before each scan, as other processes do; return a list of the scans."""
    scans: list[None] = []
    queries: Any = stack.services.queries
    page = run_blocking(queries.scan)

    def scan(*arguments: Any, **more: Any) -> Any:
        scans.append(None)
        before()
        save_session()
        return page(*arguments, **more)

    monkeypatch.setattr(queries, "scan", as_coroutine(scan))
    return scans


def test_sessions_under_keys_of_their_own_end_while_others_are_written(
    make_fake: MakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = make_fake(data_key_period=0)
    ended = [save_session(), save_session("7")]
    scans = save_in_scans(fake, monkeypatch, lambda: fake.clock.advance(1))
    done = end("--key-period", str(PERIOD), "--json")
    assert (done.status, len(scans)) == (0, 2)
    assert [is_alive(session) for session in ended] == [False, False]
    assert not [name for name in fake.items() if "#" in name]


def test_it_terminates_while_processes_cannot_use_the_published_key(
    fake: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_session()
    keyring = fake.services.keyring._keyring._keyring  # type: ignore[attr-defined]
    monkeypatch.setattr(end_sessions, "build_kms_keyring", lambda _config: keyring)
    foreign = MemoryKMS.generate_data_key(keyring._kms, FOREIGN_KEY, {}).ciphertext

    def plant() -> None:
        """Bring all processes to make data keys of their own, as a writer of the table can."""
        fake.put_item(fake.items()[DATA_KEY] | {"encryptedKey": {"B": foreign}})
        fake.clock.advance(400)

    plant()
    session = save_session()
    own = fake.items()[services.id_of(str(session.session_key))]
    assert own["keyPeriod"] == {"N": str(PERIOD)}
    scans = save_in_scans(fake, monkeypatch, plant)
    done = end("--key-period", str(PERIOD), "--json")
    assert (done.status, len(scans)) == (0, 2)
    assert not is_alive(session)
    assert own["encryptedKey"] not in [item["encryptedKey"] for item in fake.sessions().values()]


@on_aws
def test_leaked_key_that_was_put_back_is_replaced_again(stack: Stack) -> None:
    save_session()
    leaked = stack.items()[DATA_KEY]
    end("--key-period", str(PERIOD))
    stack.put_item(leaked | {"replacedAt": {"N": str(NOW)}})
    stack.clock.advance(300)
    session = save_session()
    assert is_alive(session)
    assert end("--key-period", str(PERIOD), "--json").json["deleted"] == 0
    assert end("--key-period", str(PERIOD), "--again", "--json").json["deleted"] == 1
    assert not is_alive(session)
    assert stack.items()[leaked["id"]["S"]]["encryptedKey"] != leaked["encryptedKey"]


@on_aws
def test_leaked_key_that_was_put_back_keeps_no_session_of_a_past_period(stack: Stack) -> None:
    session = save_session()
    leaked = stack.items()[DATA_KEY]
    stack.put_item(leaked | {"replacedAt": {"N": str(NOW)}})
    stack.clock.advance(2 * 86_400)
    assert end("--key-period", str(PERIOD), "--json").json["deleted"] == 0
    assert end("--key-period", str(PERIOD), "--again", "--json").json["deleted"] == 1
    assert not is_alive(session)


@on_aws
def test_data_keys_that_somebody_prepared_are_deleted_and_counted(stack: Stack) -> None:
    save_session()
    ours = stack.items()[DATA_KEY]
    periods = [PERIOD + days * 86_400 for days in (1, 2, 3, 1000)]
    for period in periods:
        named = {"id": {"S": f"data-key#django#{period}"}, "keyPeriod": {"N": str(period)}}
        stack.put_item(ours | named)
    stack.put_item(ours | {"id": {"S": f"data-key#other#{periods[-1]}"}})
    done = end("--key-period", str(PERIOD), "--json")
    assert done.json["prepared"] == 3
    left = {name for name in stack.items() if name.startswith("data-key#")}
    assert left == {
        ours["id"]["S"],
        f"data-key#django#{periods[0]}",
        f"data-key#other#{periods[-1]}",
    }


@on_aws
def test_session_missing_in_a_lagging_scan_ends_too(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = save_session()
    queries: Any = stack.services.queries
    page = run_blocking(queries.scan)

    def lagging(start: Any = None, *, consistent: bool = False, **more: Any) -> Any:
        found = page(start, consistent=consistent, **more)
        return found if consistent else found._replace(items=[])

    monkeypatch.setattr(queries, "scan", as_coroutine(lagging))
    assert end("--key-period", str(PERIOD), "--json").json["deleted"] == 1
    assert not is_alive(session)


@on_aws
def test_key_that_stays_in_use_is_reported(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    save_session()
    monkeypatch.setattr(stack.services.table, "delete", as_coroutine(lambda *_, **__: True))
    done = end("--key-period", str(PERIOD))
    assert (done.status, "keeps using" in done.err) == (3, True)


@on_aws
@pytest.mark.parametrize(
    "changed",
    [
        {"encryptedKey": {"B": b""}},
        {"encryptedKey": {"S": "text"}},
        {"encryptedKey": None},
        {"keyPeriod": {"N": "1"}},
        {"createdAt": None},
        {"replacedAt": {"S": "never"}},
        {"version": {"N": "2"}},
    ],
    ids=str,
)
def test_published_item_that_cannot_be_read_is_replaced(
    stack: Stack, changed: dict[str, Any]
) -> None:
    session = save_session()
    altered = stack.items()[DATA_KEY] | changed
    stack.put_item({name: value for name, value in altered.items() if value is not None})
    assert end("--key-period", str(PERIOD), "--json").json["deleted"] == 1
    assert not is_alive(session)
    stack.clock.advance(300)
    later = save_session()
    replaced = stack.items()[DATA_KEY]
    assert replaced["replacedAt"] == replaced["createdAt"]
    assert stack.items()[id_of(later.session_key or "")]["encryptedKey"] == replaced["encryptedKey"]


@on_aws
def test_published_item_that_cannot_be_read_starts_its_period(stack: Stack) -> None:
    save_session()
    begun = PERIOD - 3600
    stack.put_item({"id": {"S": f"data-key#django#{begun}"}, "version": {"N": "1"}})
    assert end("--key-period", str(begun)).status == 0


@on_aws
def test_replacement_of_a_replacement_by_another_run_is_kept(stack: Stack) -> None:
    save_session()
    stack.put_item({"id": {"S": DATA_KEY}, "version": {"N": "1"}})
    end("--key-period", str(PERIOD))
    replaced = stack.items()[DATA_KEY]
    key = PublishedKey.from_item(replaced)
    items = stack.services.data_key_items
    assert not run_sync(items.replace_unreadable(replace(key, encrypted=b"other")))
    assert stack.items()[DATA_KEY] == replaced


@on_aws
def test_forged_time_of_a_replacement_delays_nothing(stack: Stack) -> None:
    save_session()
    item = stack.items()[DATA_KEY]
    far = {"N": str(NOW + 10**9)}
    stack.put_item(item | {"replacedAt": far, "createdAt": far})
    end("--key-period", str(PERIOD))
    assert stack.clock() <= NOW + 2 * 300
