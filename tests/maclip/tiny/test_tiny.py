"""The tiny CLIP: its tokenizer, its configuration, its pre-training, and the weights that ship."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from maclip.tiny import FOLDER, MODEL_NAME, WEIGHTS, evaluate, pretrain, tokenizer, vocabulary
from maclip.tiny.feed import CAPTIONS, make_chunk
from maclip.world.classes import FAMILIES, classes
from maclip.world.scenes import FACTS
from maclip_runtime.errors import MaclipError


def test_every_word_of_every_class_is_one_token() -> None:
    tokens = tokenizer()
    names = [one.name for family in FAMILIES for one in classes(family)]
    for name in [*names, *vocabulary.words()]:
        assert len(tokens.encode(name)) == len(name.split()), name
    assert tokens(["a"]).shape == (1, vocabulary.CONTEXT_LENGTH)


def test_tokenizer_reads_any_other_text_and_fits_the_model() -> None:
    tokens = tokenizer()
    config = json.loads((FOLDER / "open_clip_config.json").read_text())
    assert tokens.vocab_size == config["model_cfg"]["text_cfg"]["vocab_size"]
    assert tokens.eot_token_id == tokens.vocab_size - 1  # open_clip finds the end of a text by the largest token
    for text in ("somersault", "größer", "日本"):
        assert tokens.decode(tokens.encode(text)).strip() == text


def test_merges_are_written_as_shipped(tmp_path: Path) -> None:
    vocabulary.write(tmp_path / "bpe.txt.gz")
    with gzip.open(tmp_path / "bpe.txt.gz") as written, gzip.open(vocabulary.BPE_PATH) as there:
        merges = written.read()
        assert merges == there.read()
    assert not merges.endswith(b"\n")


def test_words_are_tokenised_in_drawing_as_by_the_tokenizer() -> None:
    text = "a photo of two small cyan triangles"
    row = torch.from_numpy(pretrain._word_tokens().encode(text)).long()
    assert torch.equal(row, tokenizer()([text])[0])


def _learner(positions: bool = True) -> pretrain.Learner:
    torch.manual_seed(0)
    means = pretrain.CONFIG["preprocess_cfg"]
    return pretrain.Learner(evaluate.new_model(), means["mean"], means["std"], positions)


def test_pretraining_lowers_its_losses_and_leaves_unused_token_rows_alone() -> None:
    learner = _learner()
    optimizer = torch.optim.AdamW(pretrain._groups(learner), lr=1e-3)
    pool = pretrain.Pool(64, vocabulary.CONTEXT_LENGTH, torch.device("cpu"))
    pool.add(make_chunk(pretrain._word_tokens(), np.random.default_rng(0), True, count=64))
    before = learner.clip.token_embedding.weight.detach().clone()
    losses = []
    for _ in range(12):
        contrastive, auxiliary, patch = learner(*pool.batch(24))
        (contrastive + 20 * auxiliary + patch).backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append((contrastive.item(), auxiliary.item(), patch.item()))
    first, last = np.mean(losses[:3], axis=0), np.mean(losses[-3:], axis=0)
    assert (last < first).all()
    after = learner.clip.token_embedding.weight.detach()
    tokens = tokenizer()
    (unused,), (used,) = tokens.encode("swinging"), tokens.encode("a")
    assert torch.equal(before[unused], after[unused])
    assert not torch.equal(before[used], after[used])


def test_true_captions_of_other_pictures_are_not_held_against_the_model() -> None:
    learner = _learner()
    seen = said = torch.ones(2, 128)  # all alike: a pair held against the other costs ln 2
    facts = torch.zeros(2, len(FACTS))
    facts[:, 0] = 1  # both pictures show it,
    claims = torch.zeros(2, len(FACTS) + 1)
    claims[:, 0] = 1  # and both captions say so
    contrastive, _ = learner._losses(seen, said, claims, facts)
    assert contrastive.item() == pytest.approx(0, abs=1e-6)
    facts[1, 0] = 0
    contrastive, _ = learner._losses(seen, said, claims, facts)
    # Now the second picture does not: only picture 1 against caption 0 is a fair comparison, in both directions.
    assert contrastive.item() == pytest.approx(math.log(2) / 2)


def test_pool_goes_round_and_keeps_pictures_and_captions_together() -> None:
    words = pretrain._word_tokens()
    pool = pretrain.Pool(24, vocabulary.CONTEXT_LENGTH, torch.device("cpu"))
    chunks = [make_chunk(words, np.random.default_rng(seed), True, count=16) for seed in range(3)]
    for chunk in chunks:
        pool.add(chunk)
    assert pool.filled == 16  # a chunk that does not fit starts over
    np.testing.assert_array_equal(pool.frames[:16].numpy(), chunks[2].frames)
    np.testing.assert_array_equal(pool.tokens[:16].numpy(), chunks[2].tokens)
    assert chunks[0].tokens.shape == (16, CAPTIONS, vocabulary.CONTEXT_LENGTH)


def test_saved_weights_load_and_make_a_card(tmp_path: Path) -> None:
    from maclip.tiny.card import write_card

    pretrain.save(evaluate.new_model(), tmp_path)
    path = tmp_path / "open_clip_model.safetensors"
    assert path.stat().st_size <= 4 * 2**20
    figures = evaluate.evaluate(evaluate.load(path), scenes=48)
    assert set(figures) == {"colour", "kind", "size", "count", "position_r2"}
    write_card(tmp_path, path, figures, 48, "a command")
    card = json.loads((tmp_path / "model_card.json").read_text())
    assert card["figures"]["colour"] == round(figures["colour"], 4)
    assert card["parameters"] < 2 * 2**20
    assert "a command" in (tmp_path / "model_card.md").read_text()


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_file({"visual.proj": torch.zeros(2, 2)}, tmp_path / "w.safetensors")
    with pytest.raises(MaclipError) as refused:
        evaluate.load(tmp_path / "w.safetensors")
    assert refused.value.code == "weights-unavailable"


def test_probe_reads_what_is_linear_and_not_what_is_noise() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 8))
    assert evaluate.probe(features, features @ rng.normal(size=(8, 2))) > 0.99
    assert evaluate.probe(features, rng.normal(size=(300, 2))) < 0.2


def test_shipped_weights_are_small_and_know_colours_kinds_and_places() -> None:
    assert WEIGHTS.stat().st_size <= 4 * 2**20
    figures = evaluate.evaluate(evaluate.load(), scenes=384)
    assert figures["colour"] > 0.93
    assert figures["kind"] > 0.75
    assert figures["position_r2"] > 0.7


def test_shipped_folder_is_an_ordinary_open_clip_model() -> None:
    model, _, preprocess = open_clip.create_model_and_transforms(MODEL_NAME)
    assert model.visual.image_size in (64, (64, 64))
    with torch.inference_mode():
        features = model.eval().encode_text(tokenizer()(["a photo of a red shape"]))
        assert torch.allclose(features, evaluate.load().encode_text(tokenizer()(["a photo of a red shape"])), atol=1e-4)
    assert preprocess is not None


def test_model_card_is_about_the_shipped_weights() -> None:
    import hashlib

    card = json.loads((FOLDER / "model_card.json").read_text())
    assert card["weights_sha256"] == hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
