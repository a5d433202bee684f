"""Clients whose provider vouches for them: ID-JAG as the grant (RFC 7523), without a consent here.

https://datatracker.ietf.org/doc/draft-ietf-oauth-identity-assertion-authz-grant/
"""
