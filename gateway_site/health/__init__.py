"""Liveness and readiness: `/livez`, `/healthz` and `/readyz`.

middleware     answers these addresses
readiness      whether this process may get requests
dependencies   the probes: migrations, SQL, the session table, the KMS key
probes         a probe that is shared by all requests, and its outcome
"""

from gateway_site.health.middleware import HealthMiddleware

__all__ = ["HealthMiddleware"]
