"""Whether this process should be sent requests, and what it shares with the others."""
