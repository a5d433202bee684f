"""Identity providers: their settings, metadata and keys, and the requests that are sent to them.

This package does not depend on sessions or on browsers' requests.
"""
