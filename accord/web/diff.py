"""Where two texts differ, word by word, for those who judge answers that are nearly the same."""

from __future__ import annotations

import html
import re
from difflib import SequenceMatcher

from accord.web.render import visible

ALIKE = 0.6
LONGEST = 4000
"""Words of both texts together, beyond which nothing is compared: the work grows with their product."""
_WORD = re.compile(r"\s+|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+|[^\w\s]")


def differences(first: str, second: str) -> tuple[float, list[str]]:
    """How alike two texts are (0 to 1), and both as safe HTML with `<del>` and `<ins>` where they differ.

    No HTML when they are less alike than `ALIKE`, for then marks everywhere help nobody, or are very long.
    """
    words = [_WORD.findall(visible(text)) for text in (first, second)]
    if sum(map(len, words)) > LONGEST:
        return 0.0, []
    matched = SequenceMatcher(None, words[0], words[1], autojunk=False)
    if matched.real_quick_ratio() < ALIKE or matched.quick_ratio() < ALIKE or (alike := matched.ratio()) < ALIKE:
        return matched.quick_ratio(), []
    made: list[list[str]] = [[], []]
    for what, a, b, c, d in matched.get_opcodes():
        for side, tag, run in ((0, "del", words[0][a:b]), (1, "ins", words[1][c:d])):
            text = html.escape("".join(run))
            made[side].append(text if what == "equal" or not text else f"<{tag}>{text}</{tag}>")
    return alike, ["".join(parts) for parts in made]
