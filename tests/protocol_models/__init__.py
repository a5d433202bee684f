"""Models of three protocols, every interleaving of which is checked: see README.md."""
