"""AWS: clients, signatures, deadlines, retries, circuits, the clock. Boto is imported here only."""

from typing import TYPE_CHECKING

from sessions_kms.face.old_paths import names_of

if not TYPE_CHECKING:  # a type checker is not to know the old ones
    __getattr__ = names_of(
        "sessions_kms.aws.translation",
        ("KMS", "DataKeyAnswer", "IncorrectKey", "call_kms", "call_table", "region_of"),
        room=__name__,
    )
