"""The description of the contract as a page of our own, for people, without a script and without another server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from accord.web.doors import Someone, TheRoom

router = APIRouter(include_in_schema=False)
Plain = dict[str, Any]


@dataclass(frozen=True)
class Route:
    """One thing that can be asked for."""

    method: str
    path: str
    says: str
    parameters: list[tuple[str, str, str, str]]
    body: str
    replies: list[tuple[str, str]]


@dataclass(frozen=True)
class Shape:
    """One kind of body."""

    says: str
    fields: list[tuple[str, str, bool, str]] = field(default_factory=list)


@router.get("/contract")
def contract(request: Request, who: Someone, room: TheRoom) -> HTMLResponse:
    """Every route and every body."""
    described: Plain = request.app.openapi()
    groups: dict[str, list[Route]] = {"For other clients (stable)": [], "Managing": []}
    for path, methods in described["paths"].items():
        for method, one in methods.items():
            groups["Managing" if "managing" in one.get("tags", []) else "For other clients (stable)"].append(
                route(method.upper(), path, one)
            )
    shapes = {name: shape(one) for name, one in sorted(described["components"]["schemas"].items())}
    return HTMLResponse(room.pages.get_template("contract.html").render(who=who, groups=groups, shapes=shapes))


def route(method: str, path: str, one: Plain) -> Route:
    """A route out of the description for machines."""
    parameters = [(p["name"], p["in"], kind(p["schema"]), p.get("description", "")) for p in one.get("parameters", [])]
    body = one.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    replies = []
    for status, reply in one["responses"].items():
        contents: list[Plain] = list(reply.get("content", {}).values())
        inside: Plain = contents[0].get("schema", {}) if contents else {}
        replies.append((status, name(inside) or name(inside.get("items", {}))))
    return Route(method, path, one.get("description", ""), parameters, name(body), replies)


def shape(one: Plain) -> Shape:
    """A body out of the description for machines."""
    needed = set(one.get("required", []))
    fields = [
        (field, kind(of), field in needed, of.get("description", "")) for field, of in one.get("properties", {}).items()
    ]
    return Shape(one.get("description", ""), fields)


def name(of: Plain) -> str:
    """Name of a shape that is referred to; empty when none is."""
    return str(of.get("$ref", "")).rsplit("/", 1)[-1]


def kind(of: Plain) -> str:
    """What a value is, in words."""
    if "$ref" in of:
        return name(of)
    if "const" in of:
        return repr(of["const"])
    if "enum" in of:
        return " | ".join(map(str, of["enum"]))
    for several in ("anyOf", "oneOf", "allOf"):
        if several in of:
            return " | ".join(kind(one) for one in of[several])
    if of.get("type") == "array":
        inside = of.get("items") or {}
        return f"list of {kind(inside)}" if inside else "list"
    return str(of.get("type", "anything"))
