"""What came from elsewhere, made safe for a terminal."""


def printable(text: str) -> str:
    """`text` with `?` for each character that a terminal would obey instead of showing it."""
    return "".join(character if character.isprintable() else "?" for character in text)
