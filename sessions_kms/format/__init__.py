"""The stored format: from session dict to bytes, sealed record and item, and back. No I/O."""
