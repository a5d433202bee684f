"""How this client shows a provider who it is: by a secret, by a key of its own, or Apple's way."""
