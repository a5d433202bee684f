"""What ends with a session: back-channel logout, sign-out at the provider, what was let go."""
