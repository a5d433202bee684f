"""Whether DynamoDB and KMS answer in time, as far as this process has seen."""

from collections.abc import Iterator

from sessions_kms.aws import calls
from sessions_kms.doctor.finding import Finding, failing, ok

NAME = "waits"


def wait_findings() -> Iterator[Finding]:
    """Look at the circuits that all that was asked before has left."""
    hanging = calls.open_circuits()
    if hanging:
        yield failing(
            NAME,
            f"{', '.join(hanging)}: timed out again and again, and is asked nothing but probes",
            "Check AWS Health, DNS, and the way to AWS: VPC endpoints, NAT, security groups."
            " Nothing needs to be done afterwards.",
        )
    else:
        yield ok(NAME, "DynamoDB and KMS answer in time")
