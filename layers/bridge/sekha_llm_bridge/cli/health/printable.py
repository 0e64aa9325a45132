"""Makes text from a server safe to print on a terminal."""


def printable(text: str) -> str:
    """Returns `text` with `?` for each control character: a terminal would execute it."""
    return "".join(character if character.isprintable() else "?" for character in text)
