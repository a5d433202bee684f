"""What a client may be and may ask for, pure: neither Django nor the network."""
