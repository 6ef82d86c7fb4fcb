"""A reader that follows docs/bundle-format.md and docs/gallery-format.md alone gives the recogniser's answers."""

from __future__ import annotations

import hashlib
import io
import json
import re
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load

from maclip_runtime import Gallery, Recognizer
from maclip_runtime.bundle.manifest import SCHEMA_VERSION, Manifest
from maclip_runtime.gallery.exchange import export_gallery

ROOT = Path(__file__).parents[2]
BUNDLE_PAGE, GALLERY_PAGE = (
    (ROOT / "docs" / f"{name}-format.md").read_text(encoding="utf-8") for name in ("bundle", "gallery")
)


def run(bundle: Path, manifest: dict[str, Any], graph: str, **inputs: Any) -> dict[str, Any]:
    onnxruntime = pytest.importorskip("onnxruntime")
    spec = manifest["graphs"][graph]
    session = onnxruntime.InferenceSession(str(bundle / spec["file"]), providers=["CPUExecutionProvider"])
    names = [one["name"] for one in spec["outputs"]]
    return dict(zip(names, session.run(names, inputs), strict=True))


def frames_of(clip: Path, manifest: dict[str, Any]) -> Any:
    """uint8 [1, T, size, size, 3], as the page says."""
    with av.open(str(clip)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    t, n, ready = manifest["frames"], len(pictures), manifest["preprocess"]
    chosen = []
    for picture in (Image.fromarray(pictures[int((i + 0.5) * n / t)]) for i in range(t)):
        short = min(picture.size)
        sides = tuple(round(side * ready["resize"] / short) for side in picture.size)
        resized = picture.resize(sides, Image.Resampling.BICUBIC)
        left, top = ((side - ready["size"]) // 2 for side in resized.size)
        chosen.append(np.asarray(resized.crop((left, top, left + ready["size"], top + ready["size"]))))
    return np.stack(chosen)[None]


def test_a_foreign_reader_answers_as_the_recogniser_does(bundle: Path, enrolled: Path, clips: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    text = (bundle / "manifest.json").read_text()
    assert hashlib.sha256(text.replace(manifest["seal"], "0" * 64).encode()).hexdigest() == manifest["seal"]
    for name, facts in manifest["files"].items():
        content = (bundle / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (facts["size"], facts["sha256"])

    width, t = manifest["feature_width"], manifest["frames"]
    with sqlite3.connect(f"file:{enrolled}?mode=ro", uri=True) as gallery:
        assert gallery.execute("SELECT value FROM meta WHERE key = 'contract'").fetchone()[0] == manifest["contract"]
        rows = gallery.execute("SELECT class, text, features FROM clips WHERE class IS NOT NULL ORDER BY id").fetchall()
    by_class: dict[str, list[Any]] = {}
    texts: dict[str, Any] = {}
    for name, said, features in rows:
        array = np.frombuffer(features, "<f4").reshape(1, t, width)
        told = np.zeros(width, np.float32) if said is None else np.frombuffer(said, "<f4")
        has = np.array([said is not None])
        made = run(bundle, manifest, "prototype", features=array, text=told[None], has_text=has)
        by_class.setdefault(name, []).append(made["prototypes"][0])
        texts[name] = (told, said is not None)
    names = list(by_class)
    prototypes = np.stack([np.mean(by_class[name], 0) for name in names])

    none = np.zeros((1, width), np.float32)
    pixels = frames_of(clips / "red3.mp4", manifest)
    if "visual" in manifest["graphs"]:
        features = run(bundle, manifest, "visual", frames=pixels, text=none, has_text=np.array([False]))["features"]
    else:
        tokens = run(bundle, manifest, "stem", frames=pixels[0])["tokens"][None]
        features = run(bundle, manifest, "tower", tokens=tokens, text=none, has_text=np.array([False]))["features"]
    found = run(
        bundle, manifest, "match", features=features, prototypes=prototypes,
        text=np.stack([texts[name][0] for name in names]), has_text=np.array([texts[name][1] for name in names]),
    )  # fmt: skip

    with Recognizer.open(bundle, enrolled, device="cpu") as recognizer:
        answer = recognizer.classify(clips / "red3.mp4")
    for place, name in enumerate(names):
        assert found["distances"][0, place] == pytest.approx(answer.distances[name], abs=1e-4)


def cells(part: str) -> set[str]:
    """The names in the first column of a page's tables."""
    return {name for line in re.findall(r"^\| (`.*?) \|", part, re.M) for name in re.findall(r"`(\w+)`", line)}


def test_the_pages_name_what_is_there(bundle: Path, enrolled: Path, tmp_path: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert f"schema {SCHEMA_VERSION}" in BUNDLE_PAGE
    told = cells(BUNDLE_PAGE[BUNDLE_PAGE.index("## manifest.json") :])
    assert told == set(manifest) == {*Manifest.__dataclass_fields__, "seal"}

    with sqlite3.connect(f"file:{enrolled}?mode=ro", uri=True) as gallery:
        tables = {name for (name,) in gallery.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        columns = {row[1] for row in gallery.execute("PRAGMA table_info(clips)")}
        assert f"`user_version` {gallery.execute('PRAGMA user_version').fetchone()[0]}" in GALLERY_PAGE
    parts = GALLERY_PAGE.split("`clips`:")
    assert tables - {"sqlite_sequence"} == cells(parts[0])
    assert columns == cells(parts[1].split("Arrays are")[0])

    with Gallery(enrolled) as opened:
        export_gallery(opened, tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        index = json.loads(archive.read("gallery.json"))
        assert set(load(archive.read("clips/0.safetensors"))) <= {"features", "query", "text"}
        assert Image.open(io.BytesIO(archive.read("clips/0.jpg"))).format == "JPEG"
    assert set(index) == {"format", "version", "contract", "clips", "limits"}
    for key in index["clips"][0]:
        assert f"`{key}`" in GALLERY_PAGE.split("An entry of `clips`")[1], key
