"""Every public error code is named by a test. `python tests/test_error_codes.py` lists which tests name which code."""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("maclip", "runtime/maclip_runtime", "export/maclip_export", "cli/maclip_cli")
ERROR = "MaclipError"
CODE = re.compile(r"[a-z0-9]+(-[a-z0-9*]+)+")
WORD = re.compile(r"(?<![\w-])\w+(?:-\w+)+(?![\w-])")

# Codes that no test can name, each with the reason.
EXCEPTIONS: dict[str, str] = {}


@cache
def named_codes() -> dict[str, list[str]]:
    """Each code that the packages can raise, and where, as FILE:LINE; "*" stands for a part that is computed."""
    trees = {
        path: ast.parse(path.read_text("utf-8")) for package in PACKAGES for path in (ROOT / package).rglob("*.py")
    }
    constants = dict(pair for tree in trees.values() for pair in _constants(tree))
    found: dict[str, list[str]] = defaultdict(list)
    for path, tree in trees.items():
        for node, line in _arguments(tree):
            for code in _values(node, constants):
                found[code].append(f"{path.relative_to(ROOT)}:{line}")
    return dict(sorted(found.items()))


def naming_tests(codes: dict[str, list[str]]) -> dict[str, list[str]]:
    """For each code the tests that name it, as FILE::TEST, or FILE for a table outside of tests."""
    texts = [(place, set(WORD.findall(text))) for place, text in _test_texts()]
    found = {}
    for code in codes:
        pattern = re.compile(re.escape(code).replace(r"\*", r"[\w-]+"))
        found[code] = [
            place
            for place, words in texts
            if code in words or ("*" in code and any(pattern.fullmatch(word) for word in words))
        ]
    return found


def _constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Module-level names of text that looks like a code."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            for target in node.targets:
                if isinstance(target, ast.Name) and CODE.fullmatch(node.value.value):
                    yield target.id, node.value.value


def _arguments(tree: ast.Module) -> Iterator[tuple[ast.expr, int]]:
    """What is handed on as a code: to the error, to its subclasses' `super().__init__`, or by the name `code`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and _is_error(node):
            for call in ast.walk(node):
                if isinstance(call, ast.Call) and call.args and ast.unparse(call.func) == "super().__init__":
                    yield call.args[0], call.lineno
        if isinstance(node, ast.Call):
            if node.args and _last_name(node.func) == ERROR:
                yield node.args[0], node.lineno
            for keyword in node.keywords:
                if keyword.arg == "code":
                    yield keyword.value, node.lineno
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            known = [*node.args.posonlyargs, *node.args.args]
            pairs = [*zip(known[::-1], node.args.defaults[::-1], strict=False)]
            pairs += [
                (arg, value) for arg, value in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if value
            ]
            yield from ((value, node.lineno) for arg, value in pairs if arg.arg == "code")


def _is_error(node: ast.ClassDef) -> bool:
    return any(_last_name(base) == ERROR for base in node.bases)


def _last_name(node: ast.expr) -> str | None:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None


def _values(node: ast.expr, constants: dict[str, str]) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value):
        yield node.value
    elif isinstance(node, ast.Name) and node.id in constants:
        yield constants[node.id]
    elif isinstance(node, ast.IfExp):
        yield from _values(node.body, constants)
        yield from _values(node.orelse, constants)
    elif isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else "*" for part in node.values)
        yield "".join(str(part) for part in parts)


@cache
def _test_texts() -> list[tuple[str, str]]:
    """The source of each test and of what surrounds the tests of each file, with its name."""
    texts = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if path == Path(__file__).resolve():
            continue
        name, source = str(path.relative_to(ROOT)), path.read_text("utf-8")
        lines = source.splitlines()
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                first = min([node.lineno, *(one.lineno for one in node.decorator_list)]) - 1
                texts.append((f"{name}::{node.name}", "\n".join(lines[first : node.end_lineno])))
                lines[first : node.end_lineno] = [""] * ((node.end_lineno or first) - first)
        texts.append((name, "\n".join(lines)))
    return texts


def test_every_error_code_is_named_by_a_test() -> None:
    codes = named_codes()
    assert len(codes) > 60, "the patterns find the codes"
    unnamed = {code: codes[code] for code, tests in naming_tests(codes).items() if not tests and code not in EXCEPTIONS}
    assert not unnamed


def test_no_exception_is_out_of_date() -> None:
    tests = naming_tests(named_codes())
    assert not [code for code in EXCEPTIONS if tests.get(code, ["gone"])]


def test_every_code_reads_like_one() -> None:
    assert not [code for code in named_codes() if not CODE.fullmatch(code.replace("*", "any"))]


def main() -> None:
    """Print each code, what tests name it, and where it is raised."""
    codes = named_codes()
    for code, tests in naming_tests(codes).items():
        print(f"{code}  ({len(codes[code])} places, first {codes[code][0]})")
        for one in tests or [f"no test: {EXCEPTIONS.get(code, 'MISSING')}"]:
            print(f"    {one}")


if __name__ == "__main__":
    sys.exit(main())
