"""Settings as their operator has them: the engine's name, and the gateway's variable for it."""

from typing import Final

KEY: Final = "KEY_ID (the gateway: KMS_KEY_ARN)"
PREVIOUS_KEYS: Final = "DECRYPT_KEY_IDS (the gateway: DECRYPT_KEY_ARNS)"
TABLE: Final = "TABLE_NAME (the gateway: SESSIONS_TABLE)"
NAMESPACE: Final = "NAMESPACE (the gateway: SESSIONS_NAMESPACE)"
NOT_BEFORE: Final = "NOT_BEFORE (the gateway: SESSIONS_NOT_BEFORE)"
