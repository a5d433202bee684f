"""What a package offers, and under which names it did so before."""
