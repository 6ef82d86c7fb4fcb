"""The page of the REST API, from the OpenAPI document of `maclip-run serve`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast


def rest_page() -> str:
    """The page as Markdown."""
    document = openapi_document()
    parts = [
        "# REST API",
        "What `maclip-run serve` answers; the page in the browser uses nothing else. A running server describes "
        'itself at `/api/openapi.json`. Errors are `{"code", "message", "fix"}` with the [codes](errors.md) of the '
        "commands. Where a token is required, send it as `Authorization: Bearer TOKEN`. Events and states come by "
        "WebSocket: [Teaching on a page](serve.md#api).",
    ]
    by_tag: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, facts in methods.items():
            by_tag.setdefault((facts.get("tags") or ["other"])[0], []).extend(_endpoint(path, method, facts))
    for tag, lines in by_tag.items():
        parts += [f"## {tag.capitalize()}", *lines]
    parts.append("## Objects")
    for name, schema in sorted(document.get("components", {}).get("schemas", {}).items()):
        if "properties" in schema:
            parts += [
                f"### {name}",
                *([_text(schema["description"])] if "description" in schema else []),
                _fields(schema),
            ]
    return "\n\n".join(parts) + "\n"


def openapi_document() -> dict[str, Any]:
    """The document of the application, without a running server."""
    from maclip_runtime.serve.access import Access
    from maclip_runtime.serve.app import build_app, openapi
    from maclip_runtime.serve.studio import Studio

    return openapi(build_app(cast(Studio, _Anything()), cast(Access, _Anything())))


class _Anything:
    """Stands in for what endpoints ask only when they are called."""

    def __getattr__(self, name: str) -> _Anything:
        return self

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(())


def _endpoint(path: str, method: str, facts: dict[str, Any]) -> list[str]:
    parts = [f"### `{method.upper()} {path}`", _text(facts.get("description") or facts.get("summary") or "")]
    rows = [
        f"| `{one['name']}` | {one['in']} | {_kind(one.get('schema', {}))} | {'yes' if one.get('required') else ''} |"
        for one in facts.get("parameters", [])
    ]
    if rows:
        parts.append("\n".join(["| parameter | in | type | required |", "| --- | --- | --- | --- |", *rows]))
    for kind, content in facts.get("requestBody", {}).get("content", {}).items():
        parts.append(f"Body, `{kind}`: {_kind(content.get('schema', {}))}.")
    answers = [
        f"{status}: {_kind(content.get('schema', {})) or kind}"
        for status, answer in facts.get("responses", {}).items()
        if status.startswith("2")
        for kind, content in answer.get("content", {}).items()
    ]
    return [*parts, *([f"Answer, {'; '.join(answers)}."] if answers else [])]


def _fields(schema: dict[str, Any]) -> str:
    needed = schema.get("required", [])
    rows = [
        f"| `{name}` | {_kind(field)} | {'yes' if name in needed else ''} | {_text(field.get('description', ''))} |"
        for name, field in schema["properties"].items()
    ]
    return "\n".join(["| key | type | required | |", "| --- | --- | --- | --- |", *rows])


def _kind(schema: dict[str, Any]) -> str:
    """A schema in a few words, with a link where it has a name."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})" if not name.startswith(("HTTP", "Validation")) else name
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join(f"`{one}`" for one in schema["enum"])
    kind = schema.get("type", "")
    if kind == "array":
        return f"list of {_kind(schema.get('items', {})) or 'anything'}"
    return {"object": "object", "string": "text", "null": "null"}.get(kind, kind)


def _text(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
