"""What a provider is and what is asked of it: settings, metadata, keys, tokens, proofs."""
