"""Settings that provoke each of the engine's system checks."""

import time
from typing import Any

from sessions_kms import checks

KEY = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"

GOOD = {"KEY_ID": KEY, "TABLE_NAME": "sessions"}

SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"

# What provokes each id, and nothing else: settings of Django's, laid over good ones.
PROVOKED: dict[str, dict[str, Any]] = {
    "E001": {"SESSIONS_KMS": None},
    "E002": {"SESSIONS_KMS": GOOD | {"KMS_KEY": KEY}},
    "E003": {"SESSIONS_KMS": GOOD | {"KEY_ID": "alias/sessions"}},
    "E004": {"SESSIONS_KMS": GOOD | {"TABLE_NAME": ""}},
    "E005": {"SESSIONS_KMS": GOOD | {"REGION_NAME": ""}},
    "E006": {"SESSIONS_KMS": GOOD | {"NAMESPACE": "a b"}},
    "E007": {"SESSIONS_KMS": GOOD | {"ENCRYPTION_CONTEXT": {"purpose": "x"}}},
    "E008": {"SESSIONS_KMS": GOOD | {"DECRYPT_KEY_IDS": KEY}},
    "E009": {"SESSIONS_KMS": GOOD | {"NOT_BEFORE": "2026-01-31"}},
    "E010": {"SESSIONS_KMS": GOOD | {"ABSOLUTE_TIMEOUT": 0}},
    "E011": {"SESSIONS_KMS": GOOD | {"DATA_KEY_PERIOD": 8 * 86400}},
    "E012": {"SESSIONS_KMS": GOOD | {"DATA_KEY_CACHE_AGE": 0}},
    "E013": {"SESSIONS_KMS": GOOD | {"DATA_KEY_MAX_STALE": 0}},
    "E014": {"SESSIONS_KMS": GOOD | {"DATA_KEY_MAX_STALE": 299}},
    "E015": {"SESSIONS_KMS": GOOD | {"MIGRATE_FROM": ""}},
    "E016": {
        "SESSIONS_KMS": GOOD | {"MIGRATE_FROM": "nowhere.sessions"},
        "SESSION_ENGINE": "sessions_kms.moving_in",
    },
    "E017": {"SESSION_COOKIE_AGE": "604800"},
    "E018": {"SESSIONS_KMS": GOOD | {"ANONYMOUS_MAX_SIZE": "64 KB"}},
    "E019": {"SESSIONS_KMS": GOOD | {"CLIENT": "httpx"}},
    "E020": {"SESSIONS_KMS": GOOD | {"GRANT_TIMEOUT": 91 * 86_400}},
    "E023": {"SESSIONS_KMS": GOOD | {"AUDIT_KEY_ID": "alias/audit"}},
    "E024": {"SESSIONS_KMS": GOOD | {"MAX_SESSIONS_PER_USER": 0}},
    "W001": {"SESSION_ENGINE": "django.contrib.sessions.backends.db"},
    "W002": {"MIDDLEWARE": [SESSIONS]},
    "W003": {"SESSION_COOKIE_AGE": 7 * 86400 + 1},
    "W004": {"SESSIONS_KMS": GOOD | {"NOT_BEFORE": int(time.time() * 1000)}},
    "W005": {"INSTALLED_APPS": [checks.SESSIONS_APP, "sessions_kms"]},
    "W006": {"INSTALLED_APPS": ["allauth.usersessions"]},
    "W007": {"SOCIALACCOUNT_STORE_TOKENS": True},
    "W008": {"SESSION_SERIALIZER": "myproject.sessions.PickleSerializer"},
    "W009": {"SESSION_COOKIE_SAMESITE": "None"},
    "W012": {"SESSIONS_KMS": GOOD | {"REGION_NAME": "eu-central-1"}},
}

# These are not provoked by a setting alone; those of tests in testing/test_remote_table.py.
OF_PYTHON, OF_REGION, OF_TESTS = "W010", "E021", ("E022", "W011")
