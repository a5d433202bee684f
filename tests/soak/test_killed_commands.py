"""Commands for operators on a table of many sessions, killed and run again under load.

`python -m tests.soak commands` shows the same on 100,000 sessions.
"""

import uuid

import pytest

from tests.soak import commands
from tests.soak.site import Site
from tests.support.local_kms import LocalKMS

pytestmark = pytest.mark.long
SESSIONS = 400
LOADED = 30
KILLED_AFTER = 40  # writes


@pytest.fixture
def site(local_kms: LocalKMS, roto_url: str, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", local_kms.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", roto_url)
    return Site.seeded(f"sessions-{uuid.uuid4().hex[:12]}", SESSIONS)


def test_end_sessions_killed_and_run_again_ends_all_until_the_cutoff_and_no_other(
    site: Site,
) -> None:
    cutoff = max(session.created_at for session in site.sessions[SESSIONS // 2 :])
    old = [session for session in site.sessions if session.created_at <= cutoff]
    new = [session for session in site.sessions if session.created_at > cutoff]
    outcome = commands.end(site, new[:LOADED], (KILLED_AFTER,), cutoff)
    assert 0 < outcome.done["deleted"] < len(old)
    assert (outcome.done["raised"], outcome.done["doubtful"]) == (False, 0)
    assert outcome.lost_changes == 0
    assert min(load["saves"] for load in outcome.loads) > 0
    assert (site.readable(old), site.readable(new)) == (0, len(new))


def test_rewrap_sessions_killed_and_run_again_moves_all_and_loses_none(site: Site) -> None:
    outcome = commands.rewrap(site, site.sessions[:LOADED], (KILLED_AFTER,), age=1)
    assert 0 < outcome.done["moved"] < SESSIONS
    assert (outcome.done["invalid"], outcome.lost_changes) == (0, 0)
    assert min(load["saves"] for load in outcome.loads) > 0
    # One call for each day's data key as the old key wrapped it, and as the new one does.
    assert outcome.done["data_keys"] <= 2 * 7 + 2
    assert site.readable(site.sessions) == SESSIONS
