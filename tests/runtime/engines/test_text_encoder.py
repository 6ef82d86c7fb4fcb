"""A device with a text encoder takes any name; one without takes those of its vocabulary."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_bundle
from tiny_bundle import WIDTH
from tokenizers import Tokenizer, models, pre_tokenizers

from maclip_runtime import Recognizer
from maclip_runtime.bundle.manifest import MANIFEST_FILE, Manifest
from maclip_runtime.bundle.names import unit_rows
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.bundle.vocabulary import Names, TextEncoder
from maclip_runtime.engines import encoder
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.errors import MaclipError
from maclip_runtime.gallery import Gallery

LENGTH = 6
WORDS = {"!": 0, "?": 1, "juggling": 2, "balls": 3, "brush": 4, "hair": 5, "a": 6, "video": 7, "of": 8, "photo": 9}
TEMPLATES = ("a photo of {}", "{} video")

# A prompt's feature counts its words, the padding's too.
TEXT = f"""
text (int64[B,{LENGTH}] tokens) => (float[B,{WIDTH}] text) {{
    depth = Constant<value_int: int = {WIDTH}>()
    values = Constant<value_floats: floats = [0.0, 1.0]>()
    axis = Constant<value_ints: ints = [1]>()
    hot = OneHot<axis: int = -1>(tokens, depth, values)
    counts = ReduceSum<keepdims: int = 0>(hot, axis)
    length = ReduceL2<axes: ints = [-1], keepdims: int = 1>(counts)
    text = Div(counts, length)
}}
"""


@pytest.fixture(scope="module")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a text encoder of ten words. Do not change it: copy it."""
    out = tiny_bundle.write_bundle(tmp_path_factory.mktemp("speaking") / "bundle")
    made = Tokenizer(models.WordLevel(WORDS, "?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.enable_truncation(LENGTH)
    made.enable_padding(length=LENGTH, pad_id=0, pad_token="!")
    made.save(str(out / "tokenizer.json"))
    text = tiny_bundle.write_graph(out / "text.onnx", TEXT)
    change(
        out,
        names=Names(len(tiny_bundle.NAMES), TEMPLATES, "unit"),
        graphs={**manifest_of(out).graphs, "text": text},
        text_encoder=TextEncoder("tokenizer.json", LENGTH, "lower"),
    )
    return out


@pytest.fixture
def copy(speaking: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(speaking, tmp_path / "copy"))


def manifest_of(path: Path) -> Manifest:
    return Manifest.from_json((path / MANIFEST_FILE).read_text())


def change(path: Path, **changes: object) -> None:
    tiny_bundle.seal(path, dataclasses.replace(manifest_of(path), **changes))  # type: ignore[arg-type]


def code_of(path: Path, name: str = "juggling balls") -> str:
    with pytest.raises(MaclipError) as caught:
        Encoder(Bundle.open(path), "cpu").text_feature(name)
    return caught.value.code


def counted(*prompts: str) -> np.ndarray:
    return unit_rows(unit_rows(word_counts(*prompts)).mean(0, keepdims=True))[0]


def word_counts(*prompts: str) -> np.ndarray:
    rows = np.zeros((len(prompts), WIDTH), np.float32)
    for row, prompt in zip(rows, prompts, strict=True):
        for word in [*prompt.split(), *["!"] * LENGTH][:LENGTH]:
            row[WORDS.get(word, 1)] += 1
    return rows


def test_a_name_outside_the_vocabulary_is_the_mean_of_its_prompts(speaking: Path) -> None:
    opened = Encoder(Bundle.open(speaking), "cpu")
    found = opened.text_feature("juggling balls")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, counted("a photo of juggling balls", "juggling balls video"), atol=1e-6)
    np.testing.assert_allclose(opened.text_feature("hair"), counted("a photo of hair", "hair video"), atol=1e-6)


@pytest.mark.parametrize("length", [LENGTH - 1, LENGTH + 1, None])
def test_a_tokenizer_of_another_context_length_does_not_fit_the_bundle(copy: Path, length: int | None) -> None:
    made = Tokenizer.from_file(str(copy / "tokenizer.json"))
    made.no_truncation() if length is None else made.enable_truncation(length)
    made.no_padding() if length is None else made.enable_padding(length=length, pad_id=0, pad_token="!")
    made.save(str(copy / "tokenizer.json"))
    change(copy)
    assert code_of(copy) == "bundle-schema"


def test_spellings_are_one_name_and_long_ones_are_cut(speaking: Path) -> None:
    opened = Encoder(Bundle.open(speaking), "cpu")
    wanted = counted("a photo of brush hair", "brush hair video")
    for name in ("brush hair", "Brush_Hair", "  brush \n hair", "&#66;rush hair"):
        np.testing.assert_allclose(opened.text_feature(name), wanted, atol=1e-6)
    cut = counted("a photo of brush brush brush", "brush brush brush brush brush brush")
    np.testing.assert_allclose(opened.text_feature("brush " * 50), cut, atol=1e-6)


def test_many_names_are_embedded_in_their_order(speaking: Path) -> None:
    opened = Encoder(Bundle.open(speaking), "cpu")
    opened.text_feature("juggling")
    assert opened._names is not None
    names = [f"{'juggling ' * (n % 4)}balls" for n in range(70)]
    found = opened._names.features(names)
    wanted = np.stack([counted(f"a photo of {name}", f"{name} video") for name in names])
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_the_vocabulary_comes_first_and_needs_no_text_encoder(speaking: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "NameEncoder", None)  # a call would fail
    found = Encoder(Bundle.open(speaking), "cpu").text_feature("WAVING_hello")
    np.testing.assert_array_equal(found, tiny_bundle.text_features()[3])


def test_an_unknown_name_without_a_text_encoder_says_how_to_get_one(bundle: Path) -> None:
    with pytest.raises(MaclipError) as caught:
        Encoder(Bundle.open(bundle), "cpu").text_feature("juggling")
    assert caught.value.code == "name-unknown"
    assert "--text-encoder" in caught.value.fix


def test_a_name_of_nothing_is_unknown_everywhere(speaking: Path) -> None:
    for name in ("", "  ", "__"):
        assert code_of(speaking, name) == "name-unknown"


def test_a_class_is_enrolled_by_a_name_that_is_nowhere(speaking: Path, clips: Path, gallery: Path) -> None:
    with Recognizer.open(speaking, gallery, device="cpu") as recognizer:
        done = recognizer.enroll("juggling", clips / "red1.mp4")
        assert done.text_name == "juggling"
        recognizer.enroll("green light", clips / "green1.mp4", text="brush hair")
        assert recognizer.classify(clips / "red2.mp4").label == "juggling"
    with Gallery(gallery) as kept:
        (red,), (green,) = kept.clips("juggling"), kept.clips("green light")
    np.testing.assert_allclose(red.text, counted("a photo of juggling", "juggling video"), atol=1e-6)
    np.testing.assert_allclose(green.text, counted("a photo of brush hair", "brush hair video"), atol=1e-6)


@pytest.mark.parametrize("library", ["tokenizers", "ftfy"])
def test_a_missing_library_is_named_with_what_to_install(
    speaking: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MaclipError) as caught:
        Encoder(Bundle.open(speaking), "cpu").text_feature("juggling")
    assert (caught.value.code, caught.value.exit_code) == ("text-missing", 3)
    assert library in caught.value.message
    assert "maclip[text]" in caught.value.fix


def test_a_bundle_that_misses_a_part_of_its_text_encoder_is_refused(copy: Path) -> None:
    manifest = manifest_of(copy)
    change(copy, graphs={name: graph for name, graph in manifest.graphs.items() if name != "text"})
    assert code_of(copy) == "bundle-schema"
    change(copy, graphs=manifest.graphs)
    (copy / "tokenizer.json").unlink()
    change(copy)
    assert code_of(copy) == "bundle-corrupt"


def test_a_tokenizer_that_cannot_be_read_here_is_told(copy: Path) -> None:
    change(copy, text_encoder=TextEncoder("tokenizer.json", LENGTH, "of the future"))
    assert code_of(copy) == "bundle-schema"
    (copy / "tokenizer.json").write_text('{"version": "9.0"}')
    change(copy, text_encoder=TextEncoder("tokenizer.json", LENGTH, "lower"))
    assert code_of(copy) == "bundle-schema"


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_raw_names_keep_the_length_they_were_written_with(copy: Path, dtype: type) -> None:
    from safetensors.numpy import save_file

    written = (7 * tiny_bundle.text_features()).astype(dtype)
    save_file({"text": written}, copy / "names.safetensors")
    change(copy, names=Names(len(tiny_bundle.NAMES), TEMPLATES, "raw"))
    opened = Bundle.open(copy)
    np.testing.assert_array_equal(opened.text, written.astype(np.float32))
    np.testing.assert_array_equal(Encoder(opened, "cpu").text_feature("waving hello"), written[3].astype(np.float32))


def test_a_raw_text_encoder_gives_the_mean_of_raw_features(copy: Path) -> None:
    raw = TEXT.replace("text = Div(counts, length)", "text = Identity(counts)")
    change(
        copy,
        names=Names(len(tiny_bundle.NAMES), TEMPLATES, "raw"),
        graphs={**manifest_of(copy).graphs, "text": tiny_bundle.write_graph(copy / "text.onnx", raw)},
    )
    found = Encoder(Bundle.open(copy), "cpu").text_feature("juggling balls")
    prompts = ("a photo of juggling balls", "juggling balls video")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, word_counts(*prompts).mean(0), atol=1e-6)
    assert np.linalg.norm(found) > 2  # of six words: not a unit feature


def test_names_in_half_precision_have_length_one(copy: Path) -> None:
    from safetensors.numpy import save_file

    exact = tiny_bundle.text_features()
    save_file({"text": exact.astype(np.float16)}, copy / "names.safetensors")
    change(copy)
    found = Bundle.open(copy).text
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found, exact, atol=1e-3)
