"""What `SessionStore` has of Django's contract beside the storing: none knows the others."""
