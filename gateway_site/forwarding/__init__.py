"""Calls of upstreams under `/gateway/<upstream>/<path>`, with the signed-in person's token.

The request that leaves goes to a declared upstream, with the person's token in place of all of the
caller's own credentials.
"""
