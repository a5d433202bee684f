"""django-oauth-toolkit as a provider that rotates refresh tokens and revokes a family on reuse."""
