"""Run `manage.py check --deploy` on the production settings, under a complete, false environment.

    python -m tests.deploy_check

Nothing of the caller's environment but the path gets in, and no network is used.
"""

import os
import subprocess
import sys

from tests.support.processes import run_to_end

PRODUCTION = {
    "DJANGO_SECRET_KEY": "deploy-check-only-0123456789abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJ",
    "DATABASE_URL": "sqlite://:memory:",
    "ALLOWED_HOSTS": "gateway.example.com",
    "PROXY_SCHEME_HEADER": "X-Forwarded-Proto",
    "KMS_KEY_ARN": "arn:aws:kms:eu-central-1:111122223333:key/11111111-2222-3333-4444-555555555555",
    "SESSIONS_TABLE": "sessions",
    "AWS_REGION": "eu-central-1",
    "OAUTH_GOOGLE_CLIENT_ID": "google-client",
    "OAUTH_GOOGLE_CLIENT_SECRET": "google-secret",
    "OAUTH_GITHUB_CLIENT_ID": "github-client",
    "OAUTH_GITHUB_CLIENT_SECRET": "github-secret",
    "OAUTH_CORP_CLIENT_ID": "corp-client",
    "OAUTH_CORP_CLIENT_SECRET": "corp-secret",
    "OAUTH_CORP_ISSUER": "https://login.example.com",
    "SIGN_IN_ALLOWED_DOMAINS": "example.com",
}


def run(environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run the check under exactly this environment; what it writes is in `stderr`."""
    command = [sys.executable, "-W", "error", "manage.py", "check", "--deploy"]
    options = ["--fail-level", "WARNING", "--settings", "tests.deploy_settings"]
    path = {"PATH": os.environ.get("PATH", "")}
    return run_to_end([*command, *options], environment | path)


if __name__ == "__main__":
    done = run(PRODUCTION)
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    sys.exit(done.returncode)
