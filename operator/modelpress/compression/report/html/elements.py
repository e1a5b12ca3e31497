"""Elements of HTML and SVG, serialized by the standard library: every text and attribute is escaped."""

import re
from collections.abc import Iterable
from xml.etree import ElementTree  # writes only: nothing is parsed here

Element = ElementTree.Element
Child = Element | str | None

# characters that no page may hold, and those that turn the direction of the text around them
_UNSAFE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\ufffe\uffff]"
)


def tag(name: str, /, *children: Child, **attributes: str | float) -> Element:
    """Return an element; `class_` stands for class, and `_` in an attribute's name for `-`."""
    element = ElementTree.Element(name)
    for key, value in attributes.items():
        element.set(key.rstrip("_").replace("_", "-"), value if isinstance(value, str) else number(value))
    extend(element, children)
    return element


def extend(element: Element, children: Iterable[Child]) -> None:
    """Append children; None is nothing."""
    for child in children:
        if child is None:
            continue
        if isinstance(child, str):
            _append_text(element, clean(child))
        else:
            element.append(child)


def clean(text: str) -> str:
    """Return text without characters that hide or reorder what a reader sees."""
    return _UNSAFE.sub("\ufffd", text)


def number(value: float) -> str:
    """Return a coordinate: at most two decimals, no exponent."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if value % 1 else str(int(value))


def document(root: Element) -> str:
    """Return the text of a page."""
    return "<!DOCTYPE html>\n" + ElementTree.tostring(root, encoding="unicode", method="html") + "\n"


def _append_text(element: Element, text: str) -> None:
    if len(element):
        element[-1].tail = (element[-1].tail or "") + text
    else:
        element.text = (element.text or "") + text
