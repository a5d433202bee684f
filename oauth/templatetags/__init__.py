"""What templates of a project may load."""
