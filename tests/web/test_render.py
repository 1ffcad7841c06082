"""Hostile texts become harmless HTML, and harmless texts stay what they were."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from accord.web import render as room
from accord.web.math import ATTRIBUTES as MATH_ATTRIBUTES
from accord.web.math import TAGS as MATH_TAGS
from accord.web.math import mathml
from accord.web.render import TAGS, render, visible

OUR_ATTRIBUTES = {"href", "rel", "target", "start", "dir", "tabindex", "class", *MATH_ATTRIBUTES}
PAYLOADS = [
    "<script>alert(1)</script>",
    "<ScRiPt src=//evil.example/x.js></sCrIpT>",
    "<img src=x onerror=alert(1)>",
    "<img/src='x'/onerror=alert(1)//",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<math><mtext><table><mglyph><style><img src onerror=alert(1)>",
    "<math><mi//xlink:href='data:x,<script>alert(1)</script>'>",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<iframe src=javascript:alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<object data=javascript:alert(1)>",
    "<embed src=javascript:alert(1)>",
    "<a href=javascript:alert(1)>x</a>",
    "<body onload=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "<video><source onerror=alert(1)>",
    "<style>@import '//evil.example'</style>",
    "<link rel=stylesheet href=//evil.example>",
    "<meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
    "<base href=//evil.example>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<template><script>alert(1)</script></template>",
    "<!--><script>alert(1)</script>-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?xml version='1.0'?><x onload=alert(1)>",
    "<x onclick=alert(1) style=position:fixed>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](java&#10;script:alert(1))",
    "[x](&#x6A;avascript:alert(1))",
    "[x](vbscript:msgbox(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](data:image/svg+xml,<svg/onload=alert(1)>)",
    "[x](file:///etc/passwd)",
    "[x](//evil.example)",
    '[x](http://e.example "onmouseover=alert(1)")',
    '[x](http://e.example/"onmouseover="alert(1))',
    "[a](http://e.example/?q='onclick='alert(1))",
    "<javascript:alert(1)>",
    '<http://e.example/" onclick=alert(1)>',
    "![x](http://evil.example/track.png)",
    "![x](javascript:alert(1))",
    '![x" onerror="alert(1)](x)',
    "![<img src=x onerror=alert(1)>](http://evil.example/x)",
    "[![x](http://evil.example/x)](javascript:alert(1))",
    "[x]: javascript:alert(1)\n\n[x]",
    "```html\n<script>alert(1)</script>\n```",
    "```<script>alert(1)</script>\nx\n```",
    '```"><img src=x onerror=alert(1)>\nx\n```',
    "```python\n'''</code></pre><script>alert(1)</script>'''\n```",
    "`<script>alert(1)</script>`",
    "    <script>alert(1)</script>",
    r"$\text{<script>alert(1)</script>}$",
    r"$\text{</mtext></math><img src=x onerror=alert(1)>}$",
    r"$\href{javascript:alert(1)}{x}$",
    r"$\style{background:url(//evil.example)}{x}$",
    r'$\color{red" onload="alert(1)}{x}$',
    r"$\class{x" + '" onclick="alert(1)}{y}$',
    r"$\mathrm{<img src=x onerror=alert(1)>}$",
    "$$\n<script>alert(1)</script>\n$$",
    r"$\unicode{x3c}script\unicode{x3e}$",
    "| a | b |\n|---|---|\n| <img src=x onerror=alert(1)> | [x](javascript:alert(1)) |",
    "~~<script>~~alert(1)~~</script>~~",
    "# <script>alert(1)</script>",
    "> <img src=x onerror=alert(1)>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;img src=x onerror=alert(1)&#62;",
    "\x00<script>alert(1)</script>",
    "<scr\x00ipt>alert(1)</scr\x00ipt>",
    "<\u200bscript>alert(1)</script>",
    "＜script＞alert(1)＜/script＞",
    "\x1b]8;;javascript:alert(1)\x07x\x1b]8;;\x07",
    "[x](http://user:pass@e.example)",
    "[x](http://e.example\u202egnp.exe)",
    "\ud800<script>alert(1)</script>",
    "[" * 200 + "x" + "](javascript:alert(1))" * 200,
    "<" * 500,
    "**" * 500 + "<script>",
]


class Strict(HTMLParser):
    """Complains about anything that is not on the list."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS | MATH_TAGS | {"span"}, tag
        for name, value in attrs:
            assert name in OUR_ATTRIBUTES, (tag, name)
            if name == "href":
                assert re.match(r"(https?|mailto):", value or ""), value
                self.links.append(value or "")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(decl)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_pi(self, data: str) -> None:
        raise AssertionError(data)


def checked(text: str) -> str:
    made = render(text)
    reader = Strict()
    reader.feed(made)
    reader.close()
    assert "<script" not in made.lower()
    return made


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_no_payload_gets_past_the_list(payload: str) -> None:
    for text in (
        payload,
        f"before {payload} after",
        f"- {payload}\n\n**{payload}**",
        f"${payload}$",
        f"```\n{payload}",
    ):
        checked(text)


MARKS = [
    "<",
    ">",
    '"',
    "'",
    "&",
    "$",
    "\\(",
    "\\text{",
    "}",
    "[",
    "](",
    ")",
    "!",
    "`",
    "```",
    "\n",
    "|",
    "script",
    "x ",
]


@settings(max_examples=300, deadline=None)
@given(some.lists(some.sampled_from(MARKS), max_size=25).map("".join))
def test_no_mixture_of_marks_gets_past_the_list(text: str) -> None:
    checked(text)


@settings(max_examples=300, deadline=None)
@given(some.text(alphabet="ab Z9.,;:!?'()-–\n 中文é", max_size=80))
def test_prose_without_marks_is_the_same_by_the_quick_and_the_slow_way(text: str) -> None:
    quick = render(text)
    slow = room.nh3.clean(room._markdown.render(visible(text), {"secret": "s", "ours": []}), tags=TAGS)

    def words(made: str) -> str:
        return re.sub(r"\s+", " ", made.replace(' dir="auto"', "")).replace("<br> ", "<br>").strip()

    assert words(quick) == words(slow)


def test_pictures_are_never_loaded_and_links_say_where_they_lead() -> None:
    made = checked("![a cat](https://tracker.example/cat.png) and [my bank](https://evil.example/login)")
    assert "<img" not in made
    assert "a cat" in made
    assert "tracker.example" in made
    assert "(evil.example)" in made
    assert 'rel="noopener noreferrer nofollow"' in made


def test_what_turns_or_hides_text_is_written_out_and_scripts_keep_their_joiners() -> None:
    assert visible("a\u202eb\u2066c\u200bd\ufeff") == "a⟦U+202E⟧b⟦U+2066⟧c⟦U+200B⟧d⟦U+FEFF⟧"
    assert visible("👨\u200d👩\u200d👧 می\u200cخواهم ❤️") == "👨\u200d👩\u200d👧 می\u200cخواهم ❤️"
    assert visible("pass\u200dword") == "pass⟦U+200D⟧word"
    assert visible("\x1b[31mred\x1b[0m\r\nline") == "red\nline"


def test_mathematics_code_tables_and_writing_from_right_to_left() -> None:
    made = checked("$x^2$ and $$\\frac{a}{b}$$\n\n```python\ndef f(): pass\n```\n\n| a |\n|---|\n| 1 |\n\nشكرا")
    for part in ("<msup>", "<mfrac>", 'class="k"', "<table", 'dir="auto"'):
        assert part in made
    assert "<math" not in checked("It costs $5 and then $6 more.")
    assert mathml("x" * 3000).startswith("<code>")
    assert mathml("{" * 100).startswith("<code>")


def test_the_same_text_is_rendered_once() -> None:
    text = "a **rare** text"
    assert render(text) is render(text)


def test_lists_and_quotations_run_the_way_their_words_do() -> None:
    assert '<ol dir="rtl">' in render("1. يلاحظ\n2. يتصرف")
    assert '<ul dir="rtl">' in render("- **مرحبا** hello")
    assert '<blockquote dir="rtl">' in render("> اقتباس")
    for text in ("1. one\n2. اثنان", "- 12", "> quoted", "- <ul dir=rtl>"):
        assert 'dir="rtl"' not in render(text).replace("&lt;ul dir=rtl&gt;", "")
