"""What the store refuses, and what to do about it."""

from __future__ import annotations


class StoreError(Exception):
    """Anything that the store will not do; the message names the record and the way out."""


class Conflict(StoreError):
    """An id that is taken by a record with other content. Records are never changed."""

    def __init__(self, kind: str, id: str) -> None:
        super().__init__(
            f"{kind} {id} is already kept with other content; records are never changed: "
            "give the new one an id of its own (and, for feedback, name the old one in `replaces`)"
        )
        self.kind = kind
        self.id = id


class Missing(StoreError, KeyError):
    """An id that the store does not hold."""

    def __init__(self, kind: str, ids: list[str], way_out: str = "put it first, or check the id and the store") -> None:
        shown = ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
        super().__init__(f"no {kind} {shown} in this store: {way_out}")
        self.kind = kind
        self.ids = ids

    def __str__(self) -> str:
        """The sentence itself; KeyError alone would put it in quotes."""
        return str(self.args[0])


class Refused(StoreError, ValueError):
    """An act that the rules of asking and answering do not allow."""
