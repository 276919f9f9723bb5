"""Lists of words, written as one writes words."""


def listed(text: str) -> frozenset[str]:
    """Return the words of a text that are set apart by spaces or line breaks."""
    return frozenset(text.split())


def synonyms(text: str) -> dict[str, str]:
    """Return, for a text of `word: spelling spelling …`, the word by each of its spellings."""
    spellings: dict[str, str] = {}
    word = ""
    for token in text.split():
        if token.endswith(":"):
            word = token[:-1]
        else:
            spellings[token] = word
    return spellings
