"""From another session engine to this one and back, without a sign-out."""
