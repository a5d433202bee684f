"""`python -m tests.operating [SESSIONS]`: commands on a large table, killed while it is in use.

Prints how long each took and what was left. Takes some minutes; needs no AWS.
"""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from django.conf import settings

from gateway_site.local.kms import running_kms
from tests.conftest import AWS_ENVIRONMENT
from tests.operating.process import finished, start, under_load
from tests.operating.site import Site
from tests.sessions_kms.support.faults import FaultProxy, running_proxy
from tests.support.roto import running_roto

LOADED = 200  # sessions that are changed all the time
LOADERS = 2  # processes that do that
KILLED_AT = (0.1, 0.4)  # of the work, one after the other: at 10% and at 50%


def main(count: int) -> None:
    os.environ.update(AWS_ENVIRONMENT)
    settings.configure(SESSION_ENGINE="sessions_kms.backend", USE_TZ=True)
    with running_roto() as table, running_kms() as kms, running_proxy(kms.url) as proxy:
        os.environ["AWS_ENDPOINT_URL_DYNAMODB"] = table
        os.environ["AWS_ENDPOINT_URL_KMS"] = proxy.url
        site = timed("seeded", proxy, lambda: Site.seeded("sessions", count))
        rewrap(site, proxy)
        end(site, proxy)


def rewrap(site: Site, proxy: FaultProxy) -> None:
    site.switch_key(data_key_cache_age=10, data_key_max_stale=10)
    command = ["rewrap_sessions", "--no-input", "--json"]
    after = tuple(int(share * len(site.sessions)) for share in KILLED_AT)
    keys = [session.key for session in site.sessions[:LOADED]]
    with under_load(site.settings, keys, LOADERS) as reports:
        killed = timed("rewrap, killed", proxy, lambda: site.run_killed(*command, after=after))
        done = timed("rewrap", proxy, lambda: finished(start(site.settings, *command)))
    tell("rewrap", lasted=killed, done=done, load=reports)
    readable = timed("read by the new key", proxy, lambda: site.readable(site.sessions))
    tell("rewrap", readable=readable, of=len(site.sessions))


def end(site: Site, proxy: FaultProxy) -> None:
    moment = sorted(session.created_at for session in site.sessions)[len(site.sessions) // 2 - 1]
    old = [session for session in site.sessions if session.created_at <= moment]
    new = [session for session in site.sessions if session.created_at > moment]
    command = ["end_sessions", "--before", str(moment), "--no-input", "--json"]
    keys = [session.key for session in new[-LOADED:]]  # those that were not changed before
    after = tuple(int(share * len(old)) for share in KILLED_AT)
    with under_load(site.settings, keys, LOADERS) as reports:
        killed = timed("end, killed", proxy, lambda: site.run_killed(*command, after=after))
        done = timed("end", proxy, lambda: finished(start(site.settings, *command)))
    tell("end", lasted=killed, done=done, load=reports, old=len(old), new=len(new))
    tell("end", old_readable=site.readable(old), new_readable=site.readable(new))


def timed(what: str, proxy: FaultProxy, work: Callable[[], Any]) -> Any:
    proxy.heal()
    began = time.monotonic()
    result = work()
    tell(what, seconds=round(time.monotonic() - began, 1), kms=Counter(proxy.operations))
    return result


def tell(what: str, **figures: Any) -> None:
    sys.stdout.write(f"{what}: {json.dumps(figures)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
