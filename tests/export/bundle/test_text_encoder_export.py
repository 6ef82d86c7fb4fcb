"""What a device makes of a name is what open_clip makes of it: the same tokens, the same features."""

from __future__ import annotations

import dataclasses
import functools
import random
from pathlib import Path
from types import SimpleNamespace

import ftfy
import numpy as np
import open_clip
import pytest
import tiny_bundle
import torch
from safetensors.numpy import load_file
from torch.nn import functional as F

import maclip
from maclip.config import ModelConfig
from maclip.model.maclip import MaClip
from maclip_export.bundle.names import read_names, write_names
from maclip_export.bundle.text_encoder import text_graph, write_tokenizer
from maclip_export.gate.gate import Gate
from maclip_export.gate.trial import drawn_trial
from maclip_export.onnx.census import census
from maclip_export.onnx.sessions import open_session
from maclip_export.onnx.writer import write_onnx
from maclip_runtime.bundle.manifest import MANIFEST_FILE, GraphSpec, Manifest
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.bundle.vocabulary import Names, TextEncoder
from maclip_runtime.engines import open_engine
from maclip_runtime.engines.encoder import Encoder
from maclip_runtime.engines.text_encoder import CLEANINGS, NameEncoder
from maclip_runtime.errors import MaclipError

FIXED = functools.lru_cache(maxsize=None)(ftfy.fix_text)
TEMPLATES = ("a photo of {}", "a video in which somebody is {}.")
PIECES = (
    "juggling", "balls", "Waving", "isn't", "THEY'LL", "o'ſ", "100", "3,5", "--", "(not", "wine)", "ice-cream", "e.g.",
    "café", "naïve", "Übung", "cafe\u0301", "Iİıi", "ßẞ", "ﬁnding", "ᾼ\u0345", "\u2167", "½", "٣٤",
    "🤹", "🏃🏽\u200d♀️", "👨\u200d👩\u200d👧", "🇬🇷", "跳舞", "こんにちは", "달리기", "ｆｕｌｌ", "\u202eright\u202c",
    "רץ", "قفز", "नृत्य", "ไทย",
    "&amp;", "&lt;b&gt;", "&amp;amp;lt;", "&#128514;", "&nbsp;", "&notanentity;",
    "cafÃ©", "â€œquotedâ€\x9d", "donâ€™t", "ðŸ¤¹",
    "\x00", "\x07", "\x1b[31m", "\u200b", "\ufeff", "\u00ad", "\t", "\n", "\r\n", "\u3000", "\x1c", "\ud800",
    "\U00010940", "\u202d",
    "<end_of_text>", "a<start_of_text>", "_", "brush_hair", "__", "...", "!?!?", "€£", "\\", '"', "{}", "{0}",
)  # fmt: skip


def phrases(count: int = 1000) -> list[str]:
    """Phrases of every kind: pieces joined in many ways, characters at random, empty ones and long ones."""
    rng = random.Random(4)
    made = ["", " ", "\n\t", "&nbsp;", "\x00", "\u200b", "'", "'s", "s" * 2000, "🤹" * 100, "ab " * 100, "跳" * 100]
    while len(made) < count:
        kind = rng.random()
        length = rng.choice([1, 2, 3, 4, 5, 6, 8, 30])
        if kind < 0.7:
            # Before a mark, other punctuation would make it punctuation for open_clip alone: a space keeps it one.
            words = (rng.choice(PIECES) for _ in range(length))
            made.append("".join(f" {word}" if "<" in word or rng.random() < 0.7 else word for word in words))
        elif kind < 0.85:
            made.append("".join(chr(rng.choice([*range(0xD800), *range(0xE000, 0x11000)])) for _ in range(length)))
        else:
            made.append("".join(chr(rng.randrange(32, 127)) for _ in range(4 * length)).replace("<", ""))
    return made


def only_a_tokenizer(own: object, length: int) -> MaClip:
    return SimpleNamespace(  # type: ignore[return-value]
        backbone=SimpleNamespace(tokenizer=own, name="some CLIP"), clip=SimpleNamespace(context_length=length)
    )


def device_tokens(folder: Path, spec: TextEncoder, prompts: list[str]) -> np.ndarray:
    manifest = SimpleNamespace(text_encoder=spec, names=Names(1, ("{}",), "unit"))
    return NameEncoder(SimpleNamespace(path=folder, manifest=manifest), lambda *_: ()).tokens(prompts)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def ftfy_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides repair the same thousand phrases with the same library, slowly: let each be repaired once."""
    monkeypatch.setattr(ftfy, "fix_text", FIXED)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[MaClip, Path]:
    """The tiny CLIP with its own weights and two prompts, and a bundle with its names and its text encoder."""
    model = maclip.build("tiny", "tiny", adapters="none", prototype="none")
    model.config = ModelConfig.of(templates=TEMPLATES)
    out = tiny_bundle.write_bundle(tmp_path_factory.mktemp("text") / "bundle")
    names, graph = read_names("hmdb51"), text_graph(model)
    path = write_onnx(graph, out)[0]
    said = write_names(out, names, model.encode_names(names), model)
    manifest = Manifest.from_json((out / MANIFEST_FILE).read_text())
    spec = GraphSpec(path.name, graph.inputs, graph.outputs, census(path))
    manifest = dataclasses.replace(
        manifest,
        feature_width=model.feature_width,
        names=said,
        text_encoder=write_tokenizer(model, out),
        graphs={**manifest.graphs, "text": spec},
    )
    tiny_bundle.seal(out, manifest)
    return model, out


@pytest.mark.parametrize("name", ["tiny", "ViT-B-32"])
def test_tokens_are_open_clips_own(tmp_path, name):
    own = tiny_tokenizer() if name == "tiny" else open_clip.get_tokenizer(name)
    spec = write_tokenizer(only_a_tokenizer(own, own.context_length), tmp_path)
    prompts = phrases()
    found = device_tokens(tmp_path, spec, prompts)
    for prompt, ours, theirs in zip(prompts, found, own(prompts).numpy(), strict=True):
        assert ours.tolist() == theirs.tolist(), repr(prompt)


def tiny_tokenizer() -> open_clip.SimpleTokenizer:
    from maclip.tiny.vocabulary import tokenizer

    return tokenizer()


def test_every_character_falls_into_open_clips_words(tmp_path):
    """Each beside letters, digits and punctuation, where its kind decides what is a word; some of every script."""
    own = tiny_tokenizer()
    spec = write_tokenizer(only_a_tokenizer(own, 32), tmp_path)
    codes = [*range(0x250), *range(0x300, 0xD800, 37), *range(0xE000, 0x32000, 61), *range(0xE0000, 0xE0200, 37)]
    prompts = [f"a{chr(code)}b'{chr(code)}1{chr(code)}!{chr(code)}" for code in [*codes, 0x345, 0x10940, 0x1E5D0]]
    found, expected = device_tokens(tmp_path, spec, prompts), own(prompts).numpy()
    assert [prompts[row] for row in np.flatnonzero((found != expected).any(axis=1))] == []


@pytest.mark.parametrize("how", sorted(CLEANINGS))
def test_cleaning_is_open_clips(how):
    theirs = open_clip.tokenizer.get_clean_fn(how)
    for phrase in phrases():
        assert CLEANINGS[how](phrase) == theirs(phrase)


def test_features_of_a_thousand_phrases_are_open_clips(exported):
    model, out = exported
    names = phrases()
    encoder = Encoder(Bundle.open(out), "cpu")
    found = NameEncoder(encoder.bundle, encoder.engine.run).features(names)
    parts = []
    with torch.no_grad():
        for template in TEMPLATES:
            tokens = model.backbone.tokenizer([template.format(name) for name in names])
            parts.append(F.normalize(model.clip.encode_text(tokens), dim=-1))
    expected = F.normalize(torch.stack(parts).mean(0), dim=-1)
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_a_name_is_embedded_as_the_vocabulary_would_be(exported):
    model, out = exported
    encoder = Encoder(Bundle.open(out), "cpu")
    wanted = model.encode_names(["juggling three balls"])[0].numpy()
    for spelling in ("juggling three balls", "Juggling_three_balls", " juggling  three balls"):
        np.testing.assert_allclose(encoder.text_feature(spelling), wanted, rtol=0, atol=1e-5)


def test_the_vocabulary_is_small_on_disk_and_true_on_the_device(exported):
    model, out = exported
    bundle = Bundle.open(out)
    exact = model.encode_names(bundle.names).numpy()
    assert (1 - (bundle.text * exact).sum(1)).max() < 1e-6
    np.testing.assert_allclose(np.linalg.norm(bundle.text, axis=1), 1, atol=1e-6)
    assert (out / "names.safetensors").stat().st_size < 2.1 * exact.size


def test_the_gate_compares_the_graph_with_open_clips_encoder(exported):
    model, out = exported
    gate = Gate(model, drawn_trial(model, 2).first_of_each(2), model.encode_names(["an action"]))
    assert gate.check(text_graph(model), out / "text.onnx").relative < 1e-5
    other = maclip.build("tiny", "none", adapters="none", prototype="none")
    gate = Gate(other, drawn_trial(other, 2).first_of_each(2), other.encode_names(["an action"]))
    with pytest.raises(MaclipError) as caught:
        gate.check(text_graph(other), out / "text.onnx")
    assert caught.value.code == "precision-rejected"


def test_a_tokenizer_of_hugging_face_is_padded_and_cut_as_open_clip_asks(tmp_path):
    """`transformers` is not needed here: what open_clip's HFTokenizer borrows from it is this library's own class."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    backend = Tokenizer(models.WordLevel({"<pad>": 1, "<s>": 0, "</s>": 2, "<unk>": 3, "run": 4, "jump": 5}, "<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    borrowed = SimpleNamespace(
        backend_tokenizer=backend,
        truncation_side="right",
        padding_side="right",
        pad_token_id=1,
        pad_token="<pad>",
        pad_token_type_id=0,
    )
    clean = open_clip.tokenizer.get_clean_fn("whitespace")
    own = SimpleNamespace(tokenizer=borrowed, clean_fn=clean, tokenizer_mode="", strip_sep_token=False)
    spec = write_tokenizer(only_a_tokenizer(own, 5), tmp_path)
    assert spec == TextEncoder("tokenizer.json", 5, "whitespace")
    found = device_tokens(tmp_path, spec, ["run  jump", "", "run run run run"])
    assert found.tolist() == [[0, 4, 5, 2, 1], [0, 2, 1, 1, 1], [0, 4, 4, 4, 2]]
    with pytest.raises(MaclipError) as caught:
        write_tokenizer(only_a_tokenizer(SimpleNamespace(**{**vars(own), "strip_sep_token": True}), 5), tmp_path)
    assert caught.value.code == "text-unsupported"


def test_a_tokenizer_that_no_device_can_read_is_refused_before_any_work():
    with pytest.raises(MaclipError) as caught:
        text_graph(only_a_tokenizer(lambda texts: texts, 77))
    assert caught.value.code == "text-unsupported"
    assert "--names" in caught.value.fix


def test_raw_text_keeps_clips_own_length(tmp_path):
    """A prototype module may read text features as CLIP gives them: names and text graph then hold those."""
    model = maclip.build("tiny", "tiny", adapters="none", prototype="clip-fsar", prototype_text="raw")
    graph, names = text_graph(model), read_names("hmdb51")
    path = write_onnx(graph, tmp_path)[0]
    gate = Gate(model, drawn_trial(model, 2).first_of_each(2), model.encode_names(["an action"]))
    assert gate.check(graph, path).relative < 1e-5
    with torch.no_grad():
        prompts = model.backbone.tokenizer([f"a photo of {name}" for name in names])
        raw = model.clip.encode_text(prompts).numpy()
    (found,) = open_session(path).run(None, {"tokens": prompts.numpy()})
    np.testing.assert_allclose(found, raw, rtol=1e-4, atol=1e-4)
    assert write_names(tmp_path, names, model.encode_names(names), model).text_length == "raw"
    stored = load_file(tmp_path / "names.safetensors")["text"]
    np.testing.assert_allclose(stored, raw, rtol=1e-2, atol=1e-2)
    assert abs(np.linalg.norm(raw, axis=1) - 1).min() > 0.5


def test_unit_text_is_what_the_manifest_says(exported):
    assert Bundle.open(exported[1]).manifest.names.text_length == "unit"


def test_openvino_embeds_names_as_onnxruntime_does(exported: tuple[MaClip, Path]) -> None:
    pytest.importorskip("openvino")
    bundle = Bundle.open(exported[1])
    tokens = exported[0].backbone.tokenizer(["a photo of waving", "", "a red star"]).numpy()
    (expected,), (found,) = (open_engine(bundle, device).run("text", tokens=tokens) for device in ("cpu", "openvino"))
    np.testing.assert_allclose(found, expected, atol=1e-5)
