"""The environment of the measured gateway: real settings, one provider, one upstream."""

from __future__ import annotations

from pathlib import Path

from tests.bench.aws import AWS, REGION, TABLE
from tests.bench.message_cases import GROUPED, RATED, RATES, RULED, RULES

UPSTREAM = "bench"
# Also allows OAuth clients.
CLIENTS = {"AUTHORIZATION_ISSUER": "http://127.0.0.1:9", "UPSTREAM_BENCH_CLIENTS": "1"}


def environment(aws: AWS, folder: Path, *, issuer: str, upstream: str) -> dict[str, str]:
    """Return the gateway's variables, without those of AWS."""
    return {
        "DJANGO_SETTINGS_MODULE": "tests.bench.settings",
        "DJANGO_SECRET_KEY": "bench-only-" + "0123456789abcdef" * 3,
        "GATEWAY_LOCAL": "1",
        "ALLOWED_HOSTS": "127.0.0.1",
        "LOG_LEVEL": "WARNING",
        # Kept open, like connections to PostgreSQL.
        "DATABASE_URL": f"sqlite:///{folder / 'gateway.sqlite3'}?conn_max_age=60",
        "AWS_REGION": REGION,
        "KMS_KEY_ARN": aws.key_arn,
        "SESSIONS_TABLE": TABLE,
        "OAUTH_CORP_CLIENT_ID": "gateway-client",
        "OAUTH_CORP_CLIENT_SECRET": "gateway-secret-canary",
        "OAUTH_CORP_ISSUER": issuer,
        "UPSTREAM_BENCH_URL": upstream,
        "UPSTREAM_BENCH_PROVIDER": "corp",
        "UPSTREAM_BENCH_MAX_CONCURRENT": "4096",
    }


def message_upstreams(url: str, folder: Path) -> dict[str, str]:
    """Return the variables of upstreams whose messages are read; write their rules."""
    rules = folder / "rules.toml"
    rules.parent.mkdir(parents=True, exist_ok=True)
    rules.write_text(RULES, encoding="utf-8")
    own = {
        RULED: {"POLICY_FILE": str(rules), "RATE": RATES},
        RATED: {"READ_MCP": "1", "RATE": "1/h"},
        GROUPED: {"READ_MCP": "1", "ALLOWED_GROUPS": "nobody"},
    }
    common = {"URL": url, "PROVIDER": "corp", "MAX_CONCURRENT": "4096"}
    return {
        f"UPSTREAM_{name.upper()}_{variable}": value
        for name, more in own.items()
        for variable, value in (common | more).items()
    }
