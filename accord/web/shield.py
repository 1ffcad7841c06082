"""Around everything: headers that bind the browser, a limit on bodies, and no writes from other sites."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "media-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types accord",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "x-frame-options": "DENY",
}


class Shield:
    """ASGI around ASGI."""

    def __init__(self, app: ASGIApp, longest: int, secure: bool) -> None:
        self.app = app
        self.longest = longest
        self.headers = {**HEADERS, **({"strict-transport-security": "max-age=31536000"} if secure else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        given, read = Headers(scope=scope), 0

        async def bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.longest:
                raise HTTPException(413, f"a request has at most {self.longest} bytes")
            return message

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        length = given.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.longest:
            return await _refusal(413, f"a request has at most {self.longest} bytes")(scope, receive, dressed)
        if scope["method"] not in ("GET", "HEAD", "OPTIONS") and _foreign(given):
            return await _refusal(403, "this write comes from another site")(scope, receive, dressed)
        return await self.app(scope, bounded, dressed)


def _refusal(status: int, why: str) -> JSONResponse:
    return JSONResponse({"detail": why}, status)


def _foreign(headers: Headers) -> bool:
    """Whether a browser says that a page of another site sent this."""
    said = headers.get("sec-fetch-site")
    if said is not None:
        return said not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host", "")
