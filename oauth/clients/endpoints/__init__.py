"""What the authorization server answers over HTTP: to programs in JSON, to a person in pages."""
