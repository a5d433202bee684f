"""Token sets in the session: kept, handed out, and refreshed once however many ask.

`fresh_token` is where to begin. Knows nothing of how somebody signed in, or signs out.
"""

from typing import TYPE_CHECKING

from sessions_kms.face.old_paths import names_of

if not TYPE_CHECKING:  # a type checker is not to know the old ones
    __getattr__ = names_of(
        "oauth.provider.token_set",
        ("MalformedTokens", "TokenSet", "new_grant_secret", "split_scope"),
        room=__name__,
    )
