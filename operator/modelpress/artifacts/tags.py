"""How an artifact key is written as a tag: at most 128 characters, readable in any registry's list."""


def key_tag(key: str) -> str:
    """Return the tag of an artifact key; the whole key is in the image's annotations."""
    return f"key-{key[:40]}"
