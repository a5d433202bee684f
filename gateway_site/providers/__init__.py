"""OAuth providers from environment variables: `OAUTH_<NAME>_CLIENT_ID` and its companions.

Environment variables enter; allauth's `SOCIALACCOUNT_PROVIDERS` leaves, and the origins that a
sign-in form may lead to. A provider is never configured in the database, which would contain its
secret.
"""
