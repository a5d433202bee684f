"""What is read in the event loop before Django's own code runs there, which cannot wait."""
