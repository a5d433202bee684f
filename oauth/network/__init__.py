"""HTTP requests to providers: limited in time, size and number, and only to vetted addresses.

This package does not depend on provider configuration or tokens.
"""
