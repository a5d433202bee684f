"""What an exchange of tokens writes and answers, and which items it leaves to be deleted."""
