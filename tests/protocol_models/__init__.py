"""Models of four protocols, every interleaving of which is checked: see README.md."""
