"""Made-up words: counted by hand, in scripts that part words, beside what was there to read."""

from __future__ import annotations

import pytest

from accord.evaluate.wording import made_up, read_in

READ = read_in(["The fox sleeps.", "Où est le renard ?", "ЛИСА спит", "狐狸在睡觉"])


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        ("the fox", 0.0),
        ("The FOX sleeps!", 0.0),
        ("the foxle sloops", 2 / 3),
        ("OÙ est лиса", 0.0),
        ("лисалиса fox", 0.5),
        ("a zebra", 0.5),  # the prompt says zebra
        ("12 + 30 = 42", None),
        ("狐狸狐狸", None),
        ("狐狸 fox foxle", 0.5),
        ("", None),
    ],
)
def test_words_that_nobody_said_are_made_up(answer: str, share: float | None) -> None:
    assert made_up(answer, "What is a Zebra?".replace(" a ", " "), READ) == share
