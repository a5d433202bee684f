"""The rules of a call, without any network access: URLs, headers, origin, bodies, problems."""
