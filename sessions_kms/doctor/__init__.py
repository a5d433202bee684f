"""The doctor: is the store fit to keep sessions, and what is to be done where it is not?

`examine` looks at everything in turn; each file, and the folder `rights`, is one thing that it
looks at. `finding`, `trouble` and `measurements` are what they share. A look that `writes` nothing
leaves out the canary. Nothing here holds or tells a secret of a session.
"""

from collections.abc import Iterator

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
from sessions_kms.doctor.rights.needed import rights_findings
from sessions_kms.doctor.rights.over_grants import over_grant_findings
from sessions_kms.doctor.sample import sample_findings
from sessions_kms.doctor.table import TableCheck
from sessions_kms.doctor.trouble import guarded
from sessions_kms.doctor.waits import wait_findings

__all__ = ["Finding", "Level", "Measurements", "examine", "worst"]


def examine(measured: Measurements, *, writes: bool = True) -> Iterator[Finding]:
    """Run every check, each whatever the others found; without settings none can be run."""
    yield from guarded("settings", settings_findings)
    try:
        in_force = config()
    except ImproperlyConfigured:
        return  # Each fault is a finding already.
    yield from client_findings(in_force)
    table = TableCheck(in_force)
    yield from table.findings()
    yield from kms_findings(in_force, table.replicas)
    yield from rights_findings(in_force)
    yield from over_grant_findings(in_force)
    yield from data_key_findings(measured, writes=writes)
    yield from clock_findings(in_force)
    yield from not_before_findings()
    if writes:
        yield from Canary(measured).findings()
    yield from sample_findings()
    yield from wait_findings()
