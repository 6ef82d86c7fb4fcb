"""The pages of docs/ agree with the code, and what refers to them finds its place."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import maclip
from maclip.adapters.blocks import BlockAdapters
from maclip.config import EvaluationConfig, ModelConfig, TrainConfig

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
ANIMATION = "docs/watched.webp"
RESULTS = ROOT / "benchmarks" / "results"
METHOD = (DOCS / "method.md").read_text(encoding="utf-8")
CODE = ("maclip", "runtime", "export", "cli", "benchmarks", "tests", "samples")
SOURCES = {path: path.read_text(encoding="utf-8") for folder in CODE for path in (ROOT / folder).rglob("*.py")}
CONFIGS = (ModelConfig, TrainConfig, EvaluationConfig)
OTHER_FLAGS = {"--out"}


def anchor(heading: str) -> str:
    """What GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_every_section_that_code_refers_to_is_there():
    there = set(re.findall(r"^## (\d+)\.", METHOD, re.M))
    named = 0
    for path, text in SOURCES.items():
        for numbers in re.findall(r"docs/method\.md,\s+(?:# )?sections? (\d+(?:(?:, | to | and )\d+)*)", text):
            named += 1
            assert set(re.findall(r"\d+", numbers)) <= there, f"{path}: section {numbers}"
    assert named > 20, "the pattern finds the references"


def test_every_page_that_code_refers_to_is_there():
    for path, text in SOURCES.items():
        for page in re.findall(r"docs/\w+\.md", text):
            assert (ROOT / page).is_file(), f"{path}: {page}"


@pytest.mark.parametrize("page", [README, *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("http") or target == ANIMATION:
            continue
        name, _, place = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if place:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.M)
            assert place in {anchor(heading) for heading in headings}, target


def test_options_on_the_page_are_options_of_the_command_line():
    known = {one.flag for config in CONFIGS for one in config.options()} | OTHER_FLAGS
    known |= {one.flag.replace("--", "--no-") for config in CONFIGS for one in config.options() if one.kind is bool}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", METHOD))
    assert named <= known
    assert named


def test_parameter_counts_of_the_page_are_the_models():
    model = maclip.build("ViT-B-32", "none", adapters="blocks")
    first = model.blocks["0"]
    assert isinstance(first, BlockAdapters)
    assert model.temporal_embedding is not None
    assert model.prototype is not None

    def count(module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    tuned = sum(parameter.numel() for parameter in model.tuned_parameters())
    counts = {
        "one adapter": count(first.temporal),
        "FC_text": count(first.text),
        "12 blocks": count(model.blocks),
        "temporal embedding": model.temporal_embedding.numel(),
        "TPCM": count(model.prototype),
        "trained": tuned,
        "frozen CLIP": count(model) - tuned,
        "all": count(model),
    }
    table = METHOD[METHOD.index("| part | count |") :].split("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in table.replace("*", "").splitlines()[2:]]
    said = {name: int(number.replace(",", "")) for name, number in rows}
    assert len(said) == len(counts)
    for (name, number), (start, expected) in zip(said.items(), counts.items(), strict=True):
        assert name.startswith(start)
        assert number == expected, name


def test_the_readme_fits_a_few_screens_and_shows_the_animation():
    text = README.read_text(encoding="utf-8")
    assert len(text.encode()) <= 10_000
    assert f"]({ANIMATION})" in text
    if (ROOT / ANIMATION).is_file():
        head = (ROOT / ANIMATION).read_bytes()[:40]
        assert head[:4] == b"RIFF"
        assert head[8:16] == b"WEBPVP8X"
        assert head[20] & 0b10, "an animation"


@pytest.mark.parametrize("name", sorted(path.name for path in RESULTS.glob("*.json")))
def test_measured_figures_are_those_of_the_results(name):
    """A result that is measured again is written down again: its commit stands beside its link."""
    text = (DOCS / "performance.md").read_text(encoding="utf-8")
    section = next(part for part in re.split(r"^\*\*|^## |\n\n`", text, flags=re.M) if f"/{name})" in part)
    commit = json.loads((RESULTS / name).read_text(encoding="utf-8"))["machine"].get("commit")
    if commit:
        assert f"commit `{commit[:7]}`" in section
