"""A password hasher for secrets that need no protection against guessing."""

from django.contrib.auth.hashers import PBKDF2PasswordHasher


class QuickHasher(PBKDF2PasswordHasher):
    """PBKDF2 of one round: a token request would else spend a third of a second in it."""

    algorithm = "quick"
    iterations = 1
