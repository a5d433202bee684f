from sessions_kms.old_paths import names_of

__getattr__ = names_of(
    "oauth.provider.token_set",
    ("MalformedTokens", "TokenSet", "new_grant_secret", "split_scope"),
    room=__name__,
)
