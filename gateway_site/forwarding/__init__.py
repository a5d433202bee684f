"""`/gateway/<upstream>/<path>`: calls of declared upstreams with the person's token.

A browser's request enters; what leaves goes to a declared upstream, with the token of
the signed-in person in place of every credential of the browser's own.
"""
