"""Settings of the service."""

from __future__ import annotations

from pydantic import Field

from accord.config import Settings


class WebSettings(Settings):
    """How the service behaves."""

    title: str = "Accord"
    """Name shown at the top of every page."""
    lease: float = Field(default=900, gt=0, le=7 * 86_400)
    """Seconds for which a question is kept for one person; after it somebody else may get it."""
    ahead: int = Field(default=4, ge=1, le=20)
    """Questions that the judging page holds in advance, so that the next one is there at once."""
    look: float = Field(default=60, gt=0)
    """Seconds after which the judging page asks again whether there is a new guideline, and how much is left."""
    most: int = Field(default=20, ge=1, le=200)
    """Questions that one request may claim."""
    body: int = Field(default=1_000_000, ge=1000)
    """Longest request in bytes; a longer one is refused."""
    session_hours: float = Field(default=12, gt=0)
    """How long a sign-in lasts."""
    link_hours: float = Field(default=72, gt=0)
    """How long a one-time link opens the door."""
    token_days: float = Field(default=90, gt=0)
    """How long a token for other clients is good."""
    tries: int = Field(default=8, ge=1)
    """Failed sign-ins in five minutes, by name; four times as many by address. After them the door waits."""
    secure: bool = False
    """Whether people come by https: cookies are then never sent without it."""
