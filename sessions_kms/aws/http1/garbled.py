"""What is raised for an answer that cannot be believed."""


class GarbledAnswer(Exception):
    """An answer is not whole, or not the one that was sent. Its message quotes nothing of it."""
