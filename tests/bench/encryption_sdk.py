"""The AWS Encryption SDK with its caching materials manager, to encrypt a session.

Like the engine, the suite commits to the key and does not sign.
"""

from typing import Any

from tests.bench.peers import ENCRYPTION_SDK, ItemPeer

MAX_AGE = 300.0  # seconds, like the engine's default
CONTEXT = {"purpose": "bench"}


def peer(key_arn: str) -> ItemPeer:
    """Return the peer. Raises ImportError if the SDK is not installed."""
    import aws_encryption_sdk as sdk

    manager = sdk.CachingCryptoMaterialsManager(
        master_key_provider=sdk.StrictAwsKmsMasterKeyProvider(key_ids=[key_arn]),
        cache=sdk.LocalCryptoMaterialsCache(capacity=100),
        max_age=MAX_AGE,
        max_messages_encrypted=2**32,
    )
    client = sdk.EncryptionSDKClient()
    suite: Any = sdk.Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY

    def wrap(data: bytes) -> bytes:
        sealed: bytes = client.encrypt(
            source=data, materials_manager=manager, algorithm=suite, encryption_context=CONTEXT
        )[0]
        return sealed

    def unwrap(sealed: bytes) -> bytes:
        data: bytes = client.decrypt(source=sealed, materials_manager=manager)[0]
        return data

    return ItemPeer(ENCRYPTION_SDK, wrap, unwrap)
