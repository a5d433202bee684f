"""Environment variables, read once: each fault names its variable."""
