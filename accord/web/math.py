"""Formulas: LaTeX to MathML through an allow-list of our own; what cannot be read is shown as it was written.

latex2mathml does not escape what stands in `\\text{}` and lets `\\href` and `\\style` through, so its element tree is
written out here, with known tags and attributes only.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert_to_element

LONGEST = 2000
DEEPEST = 40
TAGS = {"math", "mrow", "mi", "mn", "mo", "ms", "mtext", "mspace", "mfrac", "msqrt", "mroot", "none"}
TAGS |= {"msub", "msup", "msubsup", "munder", "mover", "munderover", "mmultiscripts", "mprescripts"}
TAGS |= {"mtable", "mtr", "mtd", "mlabeledtr", "mstyle", "mpadded", "mphantom", "menclose"}
ATTRIBUTES = {
    "mathvariant": r"[a-z-]{1,24}",
    "display": r"block|inline",
    "displaystyle": r"true|false",
    "stretchy": r"true|false",
    "fence": r"true|false",
    "form": r"prefix|infix|postfix",
    "accent": r"true|false",
    "movablelimits": r"true|false",
    "columnalign": r"[a-z ]{1,60}",
    "linethickness": r"0|[\d.]{1,4}(em|px|pt)?",
    "width": r"-?[\d.]{1,5}(em|ex|px)",
    "notation": r"[a-z ]{1,40}",
}
_ATTRIBUTE = {name: re.compile(pattern) for name, pattern in ATTRIBUTES.items()}


def mathml(latex: str, block: bool = False) -> str:
    """Safe MathML of a formula, or its source in `code` when it is too long, too deep or not LaTeX."""
    source = f"<code>{html.escape(latex)}</code>"
    if len(latex) > LONGEST or _depth(latex) > DEEPEST:
        return source
    try:
        root = convert_to_element(latex, display="block" if block else "inline")
        return "".join(_written(root))
    except Exception:  # whatever a parser of hostile text may raise, the reader gets the source
        return source


def _depth(latex: str) -> int:
    """How deep braces and environments nest."""
    deepest = now = 0
    for mark in re.findall(r"[{}]|\\begin|\\end|\\left|\\right", latex):
        now += 1 if mark in ("{", "\\begin", "\\left") else -1
        deepest = max(deepest, now)
    return deepest


def _written(element: Element) -> Iterator[str]:
    """The element in HTML syntax; unknown tags become `mrow`, unknown attributes vanish, text is escaped."""
    tag = element.tag.rsplit("}", 1)[-1]
    tag = tag if tag in TAGS else "mrow"
    kept = "".join(
        f' {name}="{html.escape(value)}"'
        for name, value in element.attrib.items()
        if name in _ATTRIBUTE and _ATTRIBUTE[name].fullmatch(value)
    )
    yield f"<{tag}{kept}>"
    yield html.escape(html.unescape(element.text or ""))
    for child in element:
        yield from _written(child)
        yield html.escape(html.unescape(child.tail or ""))
    yield f"</{tag}>"
