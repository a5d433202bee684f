"""Signing in: allauth's flow under stricter rules, and the tokens it stores in the session.

The entry points (`oauth.adapter`, `oauth.urls`) connect it to allauth and Django.
"""
