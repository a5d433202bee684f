"""Data keys: generated and unwrapped by KMS, shared in the table, cached in the process."""
