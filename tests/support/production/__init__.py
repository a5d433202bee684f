"""The gateway in processes of its own, as in production, with stand-ins of AWS and an upstream."""
