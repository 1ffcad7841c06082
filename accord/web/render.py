"""Hostile text in, safe HTML out: markdown, then the allow-list, then our own code colours and formulas.

The order matters. markdown-it writes HTML of plain tags (raw HTML is off), nh3 lets only a small list of them
through, and only then are highlighted code and MathML put where placeholders stood, so that the list never has to
know `class` or MathML. A placeholder is made of random letters that no text can foresee. Nothing is ever loaded
from another machine: pictures become words. Characters that are not seen, or that turn the direction of what
follows, are written out by their number.
"""

from __future__ import annotations

import hashlib
import html
import re
import secrets
import threading
import unicodedata
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from accord.web.math import mathml

KEPT = 8192
LONGEST_CODE = 20_000
TAGS = {"p", "br", "hr", "strong", "em", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a", "small"}
TAGS |= {"h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"}
_UNSEEN = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff\ud800-\udfff]"
)
_JOINER = re.compile("(?<![\u0600-\u08ff\u0900-\u0dff\u2190-\u2bff\ufe0f\U0001f000-\U0001faff])[\u200c\u200d]")
_ANSI = re.compile("\u001b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\u0007\u001b]*(?:\u0007|\u001b\\\\)?|[@-Z\\\\-_])")
_PLAIN = re.compile(r"[^\s\w.,;:!?'\"()%/—–…«»“”‘’、。，！？；：（）-]")
_MARKED = re.compile(r"(?m)^\s*(?:[-+]|\d+[.)])|^(?: {4}|\t)|^\s*(?:-{2,}|={1,})\s*$|_|\t|  $|\\$")


def visible(text: str) -> str:
    """The text with line ends as `\\n`, terminal codes gone, and unseen or turning characters as `⟦U+202E⟧`.

    Joiners stay where scripts and emoji need them (after Arabic, Indic letters and pictographs).
    """
    text = _ANSI.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _JOINER.sub(_number, _UNSEEN.sub(_number, text))


def _number(found: re.Match[str]) -> str:
    return f"⟦U+{ord(found[0]):04X}⟧"


def render(text: str, keep: bool = True) -> str:
    """Safe HTML of markdown that anybody may have written. keep: whether it will be asked for again."""
    key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    with _lock:
        if key in _cache:
            _cache.move_to_end(key)
            return _cache[key]
    made = _render(visible(text))
    if not keep:
        return made
    with _lock:
        _cache[key] = made
        while len(_cache) > KEPT:
            _cache.popitem(last=False)
    return made


_cache: OrderedDict[bytes, str] = OrderedDict()
_lock = threading.Lock()


def _render(text: str) -> str:
    if not _PLAIN.search(text) and not _MARKED.search(text):
        return plain(text)
    env: dict[str, Any] = {"secret": secrets.token_hex(12), "ours": []}
    try:
        dirty = _markdown.render(text, env)
    except (RecursionError, ValueError, IndexError):  # a text that no parser should fall over: show it as it is
        return f"<pre>{html.escape(text)}</pre>"
    clean = nh3.clean(
        dirty,
        tags=TAGS,
        attributes={"*": set(), "a": {"href"}, "ol": {"start"}},
        tag_attribute_values={"ol": {"dir": {"rtl"}}, "ul": {"dir": {"rtl"}}, "blockquote": {"dir": {"rtl"}}},
        url_schemes={"http", "https", "mailto"},
        url_relative="deny",
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )
    clean = re.sub(r"<(p|h[3-6]|li|table)(?=[ >])", r'<\1 dir="auto"', clean)
    return re.sub(f"{env['secret']}x([0-9]+)x", lambda m: env["ours"][int(m[1])], clean)


def plain(text: str) -> str:
    """What markdown would make of prose without any marks, without asking it: most text is such, and this is quick."""
    blocks = [block.strip("\n ") for block in re.split(r"\n[ \t]*\n", text)]
    made = []
    for block in blocks:
        lines = [html.escape(line.strip(" "), quote=False) for line in block.split("\n")]
        if block:
            made.append('<p dir="auto">' + "<br>\n".join(lines) + "</p>\n")
    return "".join(made)


def code(source: str, language: str) -> str:
    """A block of code, coloured when the language is known; all of it escaped by Pygments or here."""
    inside = html.escape(source)
    if language and len(source) <= LONGEST_CODE:
        try:
            inside = highlight(source, get_lexer_by_name(language, stripnl=False), HtmlFormatter(nowrap=True))
        except (ClassNotFound, ValueError, RecursionError):
            inside = html.escape(source)
    return f'<pre class="code" tabindex="0" dir="ltr"><code>{inside}</code></pre>\n'


# --- what markdown-it does not know ---------------------------------------------------------------------------


def _placed(env: dict[str, Any], ours: str) -> str:
    env["ours"].append(ours)
    return f"{env['secret']}x{len(env['ours']) - 1}x"


def _fence(self: RendererHTML, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    language = tokens[at].info.strip().split(" ")[0][:40] if tokens[at].info else ""
    return _placed(env, code(tokens[at].content, language))


def _image(self: RendererHTML, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    where = html.escape(_host(str(tokens[at].attrs.get("src", ""))))
    return f"<small>[picture not loaded: {html.escape(tokens[at].content)} ({where})]</small>"


def _link_close(self: RendererHTML, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    depth = 0
    for token in reversed(tokens[:at]):
        depth += (token.type == "link_close") - (token.type == "link_open")
        if depth < 0:
            return f"</a> <small>({html.escape(_host(str(token.attrs.get('href', ''))))})</small>"
    return "</a>"


def _host(address: str) -> str:
    """Where an address really leads."""
    try:
        parts = urlsplit(address)
        return (parts.hostname or parts.scheme or "no address")[:120]
    except ValueError:
        return "no address"


def _formula(self: RendererHTML, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    token = tokens[at]
    made = mathml(token.content, token.block)
    return f"<p>{_placed(env, made)}</p>\n" if token.block else _placed(env, made)


def _inline_math(state: StateInline, silent: bool) -> bool:
    """`$x$`, `$$x$$`, `\\(x\\)` and `\\[x\\]` within a paragraph; `$5 and $6` is money."""
    text, start = state.src, state.pos
    for opening, closing in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        if not text.startswith(opening, start):
            continue
        begin = start + len(opening)
        end = text.find(closing, begin, begin + 2000)
        inside = text[begin:end] if end > begin else ""
        if opening == "$" and (
            inside[:1].isspace() or inside[-1:].isspace() or text[end + 1 : end + 2].isdigit() or "\n\n" in inside
        ):
            inside = ""
        if not inside.strip():
            continue
        if not silent:
            state.push("formula", "math", 0).content = inside.strip()
        state.pos = end + len(closing)
        return True
    return False


def _block_math(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    """`$$` or `\\[` that opens a line, up to the line that closes it."""
    begin = state.bMarks[first] + state.tShift[first]
    opening = state.src[begin : begin + 2]
    closing = {"$$": "$$", "\\[": "\\]"}.get(opening)
    if closing is None or state.is_code_block(first):
        return False
    for line in range(first, last):
        text = state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]].rstrip()
        body = text[2:] if line == first else text
        if body.endswith(closing) and (line > first or len(body) > 2):
            if silent:
                return True
            source = state.getLines(first, line + 1, state.blkIndent, False).strip()
            token = state.push("formula", "math", 0)
            token.content, token.block, token.map = source[2:-2].strip(), True, [first, line + 1]
            state.line = line + 1
            return True
    return False


def _lower(state: Any) -> None:
    """Headings of a text stand below those of the page; lists and quotations run the way their words do."""
    for at, token in enumerate(state.tokens):
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 2)}"
        if token.type in ("th_open", "td_open"):
            token.attrs = {}
        if token.type in ("bullet_list_open", "ordered_list_open", "blockquote_open") and _turned(state.tokens[at:]):
            token.attrSet("dir", "rtl")


def _turned(tokens: Sequence[Token]) -> bool:
    """Whether the first letter in there is of a script that runs from right to left."""
    inside = next((token.content for token in tokens if token.type == "inline"), "")
    kinds = (unicodedata.bidirectional(letter) for letter in inside)
    return next((kind != "L" for kind in kinds if kind in ("L", "R", "AL")), False)


def _make() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": 30}).enable(
        ["table", "strikethrough"]
    )
    made.block.ruler.before("fence", "formula", _block_math, {"alt": ["paragraph", "reference", "blockquote", "list"]})
    made.inline.ruler.before("escape", "formula", _inline_math)
    made.core.ruler.push("lower", _lower)
    made.disable("html_block").disable("html_inline")
    for name, rule in {
        "fence": _fence,
        "code_block": _fence,
        "image": _image,
        "link_close": _link_close,
        "formula": _formula,
    }.items():
        made.add_render_rule(name, rule)
    return made


_markdown = _make()
