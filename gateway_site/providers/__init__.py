"""OAuth providers from environment variables: `OAUTH_<NAME>_CLIENT_ID` and its companions.

Turns environment variables into allauth's `SOCIALACCOUNT_PROVIDERS`, and into the origins that a
sign-in form may lead to. A provider is never configured in the database, which would then contain
its secret.
"""
