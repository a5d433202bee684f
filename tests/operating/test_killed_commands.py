"""Commands for operators on a table of many sessions, killed and run again under load.

`python -m tests.operating` shows the same on 100,000 sessions.
"""

import uuid

import pytest

from gateway_site.local.kms import LocalKMS
from tests.operating.process import finished, start, under_load
from tests.operating.site import Site

pytestmark = pytest.mark.long
SESSIONS = 400
LOADED = 30
KILLED_AFTER = 40  # writes


@pytest.fixture
def site(local_kms: LocalKMS, roto_url: str, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", local_kms.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", roto_url)
    return Site.seeded(f"sessions-{uuid.uuid4().hex[:12]}", SESSIONS)


def test_end_sessions_killed_and_run_again_ends_all_until_the_moment_and_no_other(
    site: Site,
) -> None:
    old, new = site.sessions[SESSIONS // 2 :], site.sessions[: SESSIONS // 2]
    moment = max(session.created_at for session in old)
    new = [session for session in new if session.created_at > moment]
    old = [session for session in site.sessions if session.created_at <= moment]
    command = ["end_sessions", "--before", str(moment), "--no-input", "--json"]
    with under_load(site.settings, [session.key for session in new[:LOADED]], 2) as reports:
        site.run_killed(*command, after=(KILLED_AFTER,))
        done = finished(start(site.settings, *command))
    assert 0 < done["deleted"] < len(old)
    assert (done["raised"], done["doubtful"]) == (False, 0)
    assert [report["lost"] for report in reports] == [0, 0]
    assert min(report["saves"] for report in reports) > 0
    assert (site.readable(old), site.readable(new)) == (0, len(new))


def test_rewrap_sessions_killed_and_run_again_moves_all_and_loses_none(site: Site) -> None:
    site.switch_key(data_key_cache_age=1, data_key_max_stale=1)
    command = ["rewrap_sessions", "--no-input", "--json"]
    keys = [session.key for session in site.sessions[:LOADED]]
    with under_load(site.settings, keys, 2) as reports:
        site.run_killed(*command, after=(KILLED_AFTER,))
        done = finished(start(site.settings, *command))
    assert 0 < done["moved"] < SESSIONS
    assert (done["invalid"], [report["lost"] for report in reports]) == (0, [0, 0])
    assert min(report["saves"] for report in reports) > 0
    # One call for each day's data key as the old key wrapped it, and as the new one does.
    assert done["data_keys"] <= 2 * 7 + 2
    assert site.readable(site.sessions) == SESSIONS
