"""The doctor: is the store fit to keep sessions, and what is to be done where it is not?

`examine` looks at everything in turn; each file, and the folder `rights`, is one thing that it
looks at. `finding`, `trouble`, `prerequisites` and `measurements` are what they share. A look that
`writes` nothing leaves out the canary. Nothing here holds or tells a secret of a session.
"""

from collections.abc import Iterator
from functools import partial

from django.core.exceptions import ImproperlyConfigured

from sessions_kms.conf import config
from sessions_kms.doctor.canary import Canary
from sessions_kms.doctor.client import client_findings
from sessions_kms.doctor.clock import clock_findings
from sessions_kms.doctor.data_key import data_key_findings
from sessions_kms.doctor.django_settings import settings_findings
from sessions_kms.doctor.finding import Finding, Level, worst
from sessions_kms.doctor.kms import kms_findings
from sessions_kms.doctor.measurements import Measurements
from sessions_kms.doctor.not_before import not_before_findings
from sessions_kms.doctor.prerequisites import KEY, TABLE, Prerequisites
from sessions_kms.doctor.rights.needed import kms_rights_findings, table_rights_findings
from sessions_kms.doctor.rights.over_grants import over_grant_findings
from sessions_kms.doctor.sample import sample_findings
from sessions_kms.doctor.table import TableCheck
from sessions_kms.doctor.trouble import guarded
from sessions_kms.doctor.waits import wait_findings

__all__ = ["Finding", "Level", "Measurements", "examine", "worst"]


def examine(measured: Measurements, *, writes: bool = True) -> Iterator[Finding]:
    """Run every check that can be run; without settings none can.

    Within `deadline.request` they end in that time, and what is left then is not checked.
    """
    yield from guarded("settings", settings_findings)
    try:
        in_force = config()
    except ImproperlyConfigured:
        return  # Each fault is a finding already.
    yield from client_findings(in_force)
    needs = Prerequisites()
    table = TableCheck(in_force)
    yield from needs.watch(TABLE, table.findings())
    yield from needs.watch(KEY, kms_findings(in_force, table.replicas))
    kms_rights = partial(kms_rights_findings, in_force)
    table_rights = partial(table_rights_findings, in_force)
    yield from needs.check("rights on the table", table_rights, known=(TABLE,))
    yield from needs.check("rights on the key", kms_rights, known=(KEY,))
    over_grants = partial(over_grant_findings, in_force)
    yield from needs.check("over-grants", over_grants, known=(TABLE, KEY))
    data_key = partial(data_key_findings, measured, writes=writes)
    yield from needs.check("data key", data_key, usable=(TABLE, KEY))
    yield from needs.check("clock", partial(clock_findings, in_force))
    yield from needs.check("not-before", not_before_findings, usable=(TABLE,))
    if writes:
        yield from needs.check("canary", Canary(measured).findings, usable=(TABLE, KEY))
    yield from needs.check("sample", sample_findings, usable=(TABLE, KEY))
    yield from needs.check("waits", wait_findings, known=(TABLE, KEY))
    yield from needs.findings()
