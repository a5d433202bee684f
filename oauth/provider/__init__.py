"""What a provider is, what it says of itself, and how this client speaks with it.

Knows no session and no request of a browser.
"""
