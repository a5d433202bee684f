"""The doctor: can the store hold sessions, and what has to be done if it cannot?

`examine` runs every check in turn; each module has one subject, and they share `finding` and
`trouble`. Without ``writes`` the canary is left out. No finding contains a secret of a session.
"""

from collections.abc import Iterator
from functools import cache

from django.core.exceptions import ImproperlyConfigured

from sessions_kms.aws import clients
from sessions_kms.conf import config
from sessions_kms.doctor.audit import audit_findings
from sessions_kms.doctor.canary import Canary
from sessions_kms.doctor.finding import CLIENT, KEY, TABLE, Finding, Level, Prerequisites, worst
from sessions_kms.doctor.kms import Measurements, data_key_findings, kms_findings
from sessions_kms.doctor.process import (
    REGIONS_DIFFER,
    client_findings,
    clock_findings,
    settings_findings,
    wait_findings,
)
from sessions_kms.doctor.rights import (
    kms_rights_findings,
    over_grant_findings,
    table_rights_findings,
)
from sessions_kms.doctor.stored_items import not_before_findings, sample_findings
from sessions_kms.doctor.table import TableCheck
from sessions_kms.doctor.trouble import OF_ALL_AWS

__all__ = ["Finding", "Level", "Measurements", "examine", "worst"]


def examine(measured: Measurements, *, writes: bool = True) -> Iterator[Finding]:
    """Run every check that can be run; without valid settings none can.

    Within `deadline.request` they end in that time, and the remaining checks are left out.
    """
    needs = Prerequisites(OF_ALL_AWS)
    found = list(settings_findings())
    yield from needs.watch("settings", (each for each in found if each.name != REGIONS_DIFFER))
    try:
        in_force = config()
    except ImproperlyConfigured:
        return  # Each fault is a finding already.
    yield from needs.watch(CLIENT, client_findings(in_force))
    table = TableCheck(in_force)
    yield from needs.watch(TABLE, table.findings())
    yield from needs.watch(KEY, kms_findings(in_force, table.replicas))
    client = cache(lambda: clients.dynamodb_client(in_force.region_name))
    if regions := [each for each in found if each.name == REGIONS_DIFFER]:
        # Otherwise what does not exist in its Region names both.
        yield from needs.check("Regions", iter(regions), known=(TABLE, KEY))
    rights = table_rights_findings(in_force, client)
    yield from needs.check("rights on the table", rights, known=(TABLE,))
    yield from needs.check("rights on the key", kms_rights_findings(in_force), known=(KEY,))
    yield from needs.check("audit key", audit_findings(in_force))
    yield from needs.check("over-grants", over_grant_findings(in_force, client), known=(TABLE, KEY))
    data_key = data_key_findings(measured, writes=writes)
    yield from needs.check("data key", data_key, usable=(TABLE, KEY))
    yield from needs.check("clock", clock_findings(in_force, client), known=(CLIENT,))
    yield from needs.check("not-before", not_before_findings(), usable=(TABLE,))
    if writes:
        yield from needs.check("canary", Canary(measured).findings(), usable=(TABLE, KEY))
    yield from needs.check("sample", sample_findings(), usable=(TABLE, KEY))
    yield from needs.check("waits", wait_findings(), known=(TABLE, KEY))
    yield from needs.left_out()
