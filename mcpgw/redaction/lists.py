"""Lists of words, written as one writes words."""


def listed(text: str) -> frozenset[str]:
    """Return the words of a text that are set apart by spaces or line breaks."""
    return frozenset(text.split())
