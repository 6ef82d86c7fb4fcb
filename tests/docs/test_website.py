"""The website builds strictly, loads nothing from elsewhere, and has every option, error code and public name."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import pytest
from test_error_codes import named_codes

from maclip_cli.commands import commands
from maclip_cli.device.app import app as device
from maclip_cli.workstation.app import app as workstation

pytest.importorskip("zensical")
pytest.importorskip("fastapi")

from website import build, check, drawings, errors, rest


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("website") / "pages"
    build.stage(folder)
    return folder


def test_it_builds_strictly_and_every_link_leads_somewhere(
    pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "stage", lambda place: shutil.copytree(pages, place))
    build.build(tmp_path / "site")
    made = {path.stem for path in (tmp_path / "site").glob("*.html")}
    assert made >= {page.stem for page in pages.glob("*.md")}
    assert "http" not in (tmp_path / "site" / "site.css").read_text()


def test_a_broken_link_ends_the_build(pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stage(place: Path) -> None:
        place.mkdir()
        (place / "site.css").touch()
        (place / "index.md").write_text("# Here\n\n[there](nowhere.md)\n")

    monkeypatch.setattr(build, "stage", stage)
    with pytest.raises(SystemExit) as caught:
        build.build(tmp_path / "site")
    assert "page does not exist" in str(caught.value)
    assert not (tmp_path / "site").exists()


def test_what_is_checked_in_a_built_page(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<h1 id="here"></h1><a href="#here"></a><a href="b.html#x"></a><a href="c.html"></a><a href="a.html#no"></a>'
        '<img src="gone.png"><script src="https://cdn.example/x.js"></script><a href="https://example.org"></a>'
        '<link rel="canonical" href="https://example.org/a"><link rel="stylesheet" href="//fonts.example/f.css">'
    )
    (tmp_path / "b.html").write_text('<p id="x"></p>')
    found = {problem.removeprefix("a.html: ") for problem in check.problems_of(tmp_path)}
    assert found == {
        "https://cdn.example/x.js is loaded from elsewhere",
        "//fonts.example/f.css is loaded from elsewhere",
        "c.html is not there",
        "gone.png is not there",
        "a.html#no has no such place",
    }


@pytest.mark.parametrize("program", ["maclip-run", "maclip"])
def test_every_command_is_on_its_page(program: str, pages: Path) -> None:
    text = (pages / f"options-{program}.md").read_text()
    app = device if program == "maclip-run" else workstation
    for name, _ in commands(app):
        assert f"\n## {name}\n" in text
    for option in ("`--device`", "`--json`", "`--verbose`, `-v`", "`MACLIP_DEVICE`"):
        assert option in text


def test_every_error_code_is_on_the_page_with_a_fix(pages: Path) -> None:
    text = (pages / "errors.md").read_text()
    for code in named_codes():
        assert f"## `{code.replace('*', '…')}`" in text, code
    found = errors.found_errors()
    said = ("There is no gallery ….", "Enroll a clip first, or give the gallery's file.", "2")
    assert said in found["gallery-missing"]
    bare = [code for code, cases in found.items() if not any(sentence and fix for sentence, fix, _ in cases)]
    assert len(bare) < len(found) / 5, bare


@pytest.mark.parametrize("package", ["maclip", "maclip_runtime", "maclip_export"])
def test_every_public_name_is_on_its_page(package: str, pages: Path) -> None:
    text = (pages / f"python-{package}.md").read_text()
    for name in importlib.import_module(package).__all__:
        assert name.startswith("__") or f"\n## {name}\n" in text, name


def test_the_rest_page_has_every_endpoint(pages: Path) -> None:
    text = (pages / "rest.md").read_text()
    paths = rest.openapi_document()["paths"]
    assert len(paths) > 20
    for path, methods in paths.items():
        for method in methods:
            assert f"### `{method.upper()} {path}`" in text


def test_charts_are_drawn_from_the_results(pages: Path) -> None:
    text = (pages / "figures.md").read_text()
    assert text.count('<svg class="chart"') >= 7
    for result in (build.ROOT / build.RESULTS).glob("*.json"):
        assert f"files/benchmarks/results/{result.name}" in text


@pytest.mark.parametrize("name", drawings.DRAWINGS)
def test_drawings_are_those_of_the_script(name: str) -> None:
    """`python -m website.drawings` writes them again."""
    assert (drawings.IMAGES / f"{name}.svg").read_text(encoding="utf-8") == drawings.DRAWINGS[name]().svg()
