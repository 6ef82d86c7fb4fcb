"""A page with every error code, what it says and the fix, read from the source code."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("runtime/maclip_runtime", "maclip", "export/maclip_export", "cli/maclip_cli")
ERROR = "MaclipError"
CODE = re.compile(r"[a-z0-9…]+(-[a-z0-9…]+)+")
EXITS = {"EXIT_OUR_FAULT": "1", "EXIT_USER_INPUT": "2", "EXIT_MACHINE_LACKS": "3"}
MAX_SHOWN = 6  # sentences of one code

Case = tuple[str, str, str]  # sentence, fix, exit code


def errors_page() -> str:
    """The page as Markdown."""
    parts = [
        "# Error codes",
        "Every error has a code that stays the same, a sentence and a fix. The commands print them as "
        "`error[code]: …` and `fix: …`; in Python they are `code`, `message` and `fix` of `MaclipError`; the REST API "
        "sends them as JSON. `…` stands for what differs from case to case. The exit code is 2 where none is named.",
    ]
    for code, cases in sorted(found_errors().items()):
        parts.append(f"## `{code}`")
        shown = list(dict.fromkeys(case for case in cases if case[0]))
        for sentence, fix, exit_code in shown[:MAX_SHOWN]:
            ends = "" if exit_code == "2" else f" (exit code {exit_code})"
            parts.append(f"- {_plain(sentence)}{ends}" + (f"<br>*Fix:* {_plain(fix)}" if fix else ""))
        if len(shown) > MAX_SHOWN:
            parts.append(f"and {len(shown) - MAX_SHOWN} more sentences of this kind")
        if not shown:
            parts.append("The sentence says what is wrong with the value that was given.")
    return "\n\n".join(parts) + "\n"


def found_errors() -> dict[str, list[Case]]:
    """Each code that the packages raise, with its sentences; `…` stands for what is computed."""
    trees = [ast.parse(path.read_text("utf-8")) for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    constants = {
        target.id: node.value.value
        for tree in trees
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found: dict[str, list[Case]] = defaultdict(list)
    helpers: dict[str, tuple[str, str, str]] = {}  # functions whose first parameter is the sentence: code, fix, exit
    for tree in trees:
        for call, function in _raised(tree):
            for code, case in _cases(call, constants):
                found[code].append(case)
                if not case[0] and function is not None and len(call.args) > 1 and isinstance(call.args[1], ast.Name):
                    helpers[function] = (code, *case[1:])
        for code in _handed_on(tree, constants):
            found[code].append(("", "", "2"))
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (helper := helpers.get(_last_name(node.func))) and node.args:
                code, fix, exit_code = helper
                found[code] += [(sentence, fix, exit_code) for sentence in _texts(node.args[0], constants)]
    return dict(found)


def _raised(tree: ast.Module) -> Iterator[tuple[ast.Call, str | None]]:
    """Each call that makes an error, with the function around it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(_last_name(base) == ERROR for base in node.bases):
            for one in ast.walk(node):
                if isinstance(one, ast.Call) and ast.unparse(one.func) == "super().__init__":
                    yield one, None
    around = {
        id(one): function.name
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for one in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _last_name(node.func) == ERROR:
            yield node, around.get(id(node))


def _cases(call: ast.Call, constants: dict[str, str]) -> Iterator[tuple[str, Case]]:
    given = [*call.args, *[one.value for one in call.keywords]]
    exit_code = next((EXITS[name] for one in given[3:] if (name := ast.unparse(one)) in EXITS), "2")
    sentences = [*_texts(given[1], constants)] if len(given) > 1 else []
    fixes = [*_texts(given[2], constants)] if len(given) > 2 else []
    for code in _texts(given[0], constants) if given else ():
        for number, sentence in enumerate(sentences or [""]):
            if CODE.fullmatch(code):
                yield code, (sentence, fixes[min(number, len(fixes) - 1)] if fixes else "", exit_code)


def _handed_on(tree: ast.Module, constants: dict[str, str]) -> Iterator[str]:
    """Codes that a function gets by the name `code`."""
    for node in ast.walk(tree):
        values: list[ast.expr | None] = []
        if isinstance(node, ast.Call):
            values = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
        elif isinstance(node, ast.FunctionDef):
            known = [*node.args.posonlyargs, *node.args.args][::-1]
            pairs = [*zip(known, node.args.defaults[::-1], strict=False)]
            values = [value for name, value in pairs if name.arg == "code"]
            several = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            values += [value for name, value in several if name.arg == "code"]
        for value in values:
            if value is not None:
                yield from (code for code in _texts(value, constants) if CODE.fullmatch(code))


def _texts(node: ast.expr, constants: dict[str, str]) -> Iterator[str]:
    """What an expression may say; `…` for computed parts, nothing where all of it is computed."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.Name) and node.id in constants:
        yield constants[node.id]
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body, constants)
        yield from _texts(node.orelse, constants)
    elif isinstance(node, ast.JoinedStr):
        parts = [
            str(part.value) if isinstance(part, ast.Constant) else _inside(part, constants) for part in node.values
        ]
        yield "".join(parts)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        for left in _texts(node.left, constants) or [""]:
            for right in _texts(node.right, constants) or [""]:
                yield left + right


def _inside(part: ast.expr, constants: dict[str, str]) -> str:
    inner = part.value if isinstance(part, ast.FormattedValue) else part
    return constants[inner.id] if isinstance(inner, ast.Name) and inner.id in constants else "…"


def _plain(text: str) -> str:
    """Text in which nothing is Markdown or HTML."""
    return re.sub(r"([\\*_\[\]<>|#])", r"\\\1", text)


def _last_name(node: ast.expr) -> str:
    return ast.unparse(node).split(".")[-1]
