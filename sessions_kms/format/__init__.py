"""The stored format, pure: session dict to bytes to sealed record to item, and back."""
