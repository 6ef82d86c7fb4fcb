"""Pre-train the tiny CLIP on drawn, captioned frames: `python -m maclip.tiny.pretrain --out DIR`.

Contrastive, as CLIP, with three additions that let it learn in minutes (docs/method.md, section 9): position embeddings
start as sines and cosines; an auxiliary head, dropped afterwards, predicts from the class token what is in the picture;
and a caption that is also true of another picture of the batch is not a negative for that picture.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from maclip.tiny import FOLDER, tokenizer, vocabulary
from maclip.tiny.evaluate import evaluate, new_model
from maclip.tiny.feed import CAPTIONS, GRID, Chunk, Feed, WordTokens
from maclip.world.captions import words as caption_words
from maclip.world.scenes import FACT_IS_PLACE, FACTS
from maclip.world.shapes import COLOURS, KINDS

CONFIG = json.loads((FOLDER / "open_clip_config.json").read_text())
POSITION_SCALE = 0.3  # of the sine-cosine positions, about half a patch embedding's own spread
AUXILIARY_WEIGHT = 20.0  # large, because the head's loss is a mean over hundreds of facts, nearly all false
MAX_LOGIT_SCALE = math.log(100.0)
WARMUP = 300  # steps
MASKED_PART, MASKED_KEEP = 0.7, 28  # the first 70 % of the run sees 28 of the 64 patches, the rest sees all


@dataclass(frozen=True)
class Options:
    """The command line's options. A run that reaches `minutes` before `steps` has its whole learning rate schedule."""

    out: Path
    steps: int
    batch: int
    workers: int
    device: str
    minutes: float
    positions: bool
    pool: int
    lr: float
    seed: int
    compile: bool
    init: Path | None
    report: float


def sine_cosine(grid: int, width: int) -> Tensor:
    """2D sine-cosine positions, float32 [1 + grid * grid, width]; the class token's row is zero."""
    quarter = width // 4
    omega = 1.0 / 100 ** (torch.arange(quarter) / quarter)
    angle = torch.arange(grid)[:, None] * omega  # (grid, quarter)
    wave = torch.cat([angle.sin(), angle.cos()], dim=1)  # (grid, width / 2)
    rows, columns = wave[:, None].expand(-1, grid, -1), wave[None].expand(grid, -1, -1)
    patches = torch.cat([rows, columns], dim=2).reshape(grid * grid, width)
    return torch.cat([torch.zeros(1, width), patches])


class Pool:
    """The last `size` frames drawn, on the training device; each is used a few times, augmented anew each time."""

    def __init__(self, size: int, length: int, device: torch.device) -> None:
        self.size, self.filled, self.drawn = size, 0, 0
        self.device = device
        self.frames = torch.empty(size, 64, 64, 3, dtype=torch.uint8, device=device)
        self.tokens = torch.empty(size, CAPTIONS, length, dtype=torch.int16, device=device)
        self.claims = torch.empty(size, CAPTIONS, len(FACTS) + 1, dtype=torch.uint8, device=device)
        self.facts = torch.empty(size, len(FACTS), dtype=torch.uint8, device=device)
        self.patches = torch.empty(size, GRID * GRID, 2, dtype=torch.uint8, device=device)

    def add(self, chunk: Chunk) -> None:
        """Add a chunk in place of the oldest frames."""
        count = len(chunk.frames)
        start = self.drawn % self.size
        if start + count > self.size:
            start, self.drawn = 0, self.drawn + self.size - start
        for mine, theirs in (
            (self.frames, chunk.frames),
            (self.tokens, chunk.tokens),
            (self.claims, chunk.claims),
            (self.facts, chunk.facts),
            (self.patches, chunk.patches),
        ):
            mine[start : start + count].copy_(torch.from_numpy(theirs))
        self.drawn += count
        self.filled = max(self.filled, start + count)

    def batch(self, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """`count` random entries: frames f32 [B, 3, 64, 64] 0..1, shifted by up to a pixel; the rest as in `Chunk`."""
        pick = torch.randint(self.filled, (count,), device=self.device)
        which = torch.randint(CAPTIONS, (count,), device=self.device)
        shift = torch.randint(-1, 2, (2, count, 1), device=self.device)
        at = torch.arange(64, device=self.device)
        rows, columns = (at + shift[0]).clamp(0, 63), (at + shift[1]).clamp(0, 63)
        frames = self.frames[pick[:, None, None], rows[:, :, None], columns[:, None, :]]  # (B, 64, 64, 3)
        return (
            frames.permute(0, 3, 1, 2).float() / 255,
            self.tokens[pick, which].long(),
            self.claims[pick, which].float(),
            self.facts[pick].float() / 255,
            self.patches[pick].long(),
        )


def augment(images: Tensor) -> Tensor:
    """Make drawn frames look more like decoded video: float32 [B, 3, H, W], 0..1 -> the same."""
    count, device = len(images), images.device

    def amount(low: float, high: float) -> Tensor:
        return torch.empty(count, 1, 1, 1, device=device).uniform_(low, high)

    images = (images - 0.5) * amount(0.85, 1.15) + 0.5 + amount(-0.08, 0.08)
    blurred = functional.avg_pool2d(functional.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    images = images + amount(0, 0.8) * (blurred - images)
    # Video stores colour at half the resolution.
    grey = images.mean(dim=1, keepdim=True)
    chroma = images - grey
    coarse = functional.interpolate(functional.avg_pool2d(chroma, 2), scale_factor=2, mode="nearest")
    images = grey + chroma + amount(0, 1) * (coarse - chroma)
    return (images + amount(0, 0.03) * torch.randn_like(images)).clamp(0, 1)


class Learner(nn.Module):
    """The model with the auxiliary heads, and their losses."""

    mean: Tensor
    std: Tensor
    used: Tensor

    def __init__(self, clip: nn.Module, mean: list[float], std: list[float], positions: bool) -> None:
        super().__init__()
        self.clip = clip
        self.kept_patches: int | None = None  # None: all
        self.head = nn.Linear(CONFIG["model_cfg"]["embed_dim"], len(FACTS))
        self.patch_head = nn.Linear(CONFIG["model_cfg"]["vision_cfg"]["width"], len(KINDS) + len(COLOURS) + 2)
        nn.init.constant_(self.head.bias, -3.0)  # most facts are false
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        used = torch.ones(len(FACTS)) if positions else torch.from_numpy(~FACT_IS_PLACE).float()
        self.register_buffer("used", used)

    def forward(
        self, images: Tensor, tokens: Tensor, claims: Tensor, facts: Tensor, patches: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Contrastive, auxiliary and patch loss of images f32 [B, 3, 64, 64] 0..1 and their captions."""
        visual: Any = self.clip.visual
        x = visual._embeds((images - self.mean) / self.std)  # (B, 1 + N, D)
        if self.kept_patches is not None:
            # Masked patches are left out and cost nothing (FLIP, Li et al., 2023); patches with a shape on them stay.
            order = (patches[..., 0] > 0) + torch.rand(patches.shape[:2], device=x.device)
            kept = order.topk(self.kept_patches, dim=1).indices  # (B, kept)
            patches = patches.gather(1, kept[..., None].expand(-1, -1, 2))
            x = torch.cat([x[:, :1], x[:, 1:].gather(1, kept[..., None].expand(-1, -1, x.shape[-1]))], dim=1)
        x = visual.transformer(x)
        pooled, rest = visual._pool(x)  # (B, D), (B, N, D)
        seen, said = (pooled @ visual.proj).float(), self._encode_text(tokens).float()
        kind, colour = self.patch_head(rest).float().split([len(KINDS) + 1, len(COLOURS) + 1], dim=-1)
        with torch.autocast(images.device.type, enabled=False):
            patch = functional.cross_entropy(kind.flatten(0, 1), patches[..., 0].flatten())
            patch = patch + functional.cross_entropy(colour.flatten(0, 1), patches[..., 1].flatten())
            return *self._losses(seen, said, claims, facts), patch

    def _encode_text(self, tokens: Tensor) -> Tensor:
        """`clip.encode_text`, but only up to the longest caption of the batch: int64 [B, L] -> [B, D]."""
        clip: Any = self.clip
        length = int((tokens != 0).sum(1).max())
        tokens = tokens[:, :length]
        x = clip.token_embedding(tokens) + clip.positional_embedding[:length]
        x = clip.ln_final(clip.transformer(x, attn_mask=clip.attn_mask[:length, :length]))
        return x[torch.arange(len(x)), tokens.argmax(dim=-1)] @ clip.text_projection

    def _losses(self, seen: Tensor, said: Tensor, claims: Tensor, facts: Tensor) -> tuple[Tensor, Tensor]:
        """Both losses of features float32 [B, D]; in full precision, because logits reach 100."""
        scale: Tensor = torch.exp(self.clip.logit_scale)  # type: ignore[arg-type]
        logits = scale * functional.normalize(seen, dim=-1) @ functional.normalize(said, dim=-1).T  # (B, B)
        with torch.no_grad():
            # How many claims of caption j are false in picture i: with none, the caption is true there too.
            fails = 1 - functional.pad((facts > 0.3).float(), (0, 1))  # (B, facts + 1); a relation counts as false
            also_true = (fails @ claims.T) < 0.5
            also_true.fill_diagonal_(False)
        logits = logits.masked_fill(also_true, -1e4)
        target = torch.arange(len(seen), device=seen.device)
        contrastive = (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
        auxiliary = functional.binary_cross_entropy_with_logits(self.head(seen), facts, reduction="none")
        return contrastive, (auxiliary * self.used).mean()


def _groups(learner: Learner) -> list[dict[str, object]]:
    """Weight decay on matrices only, so that rows of tokens that no caption uses keep their initial values."""
    decay: list[nn.Parameter] = []
    keep: list[nn.Parameter] = []
    for name, parameter in learner.named_parameters():
        plain = parameter.ndim < 2 or "embedding" in name or "logit_scale" in name
        (keep if plain else decay).append(parameter)
    return [{"params": decay, "weight_decay": 0.05}, {"params": keep, "weight_decay": 0.0}]


def save(clip: nn.Module, folder: Path) -> None:
    """Write `open_clip_model.safetensors` in half precision, atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: value.detach().half().cpu().contiguous()
        for name, value in clip.state_dict().items()
        if name != "attn_mask"
    }
    part = folder / "open_clip_model.safetensors.part"
    save_file(weights, str(part), metadata={"format": "pt"})
    os.replace(part, folder / "open_clip_model.safetensors")


def _word_tokens() -> WordTokens:
    tokens = tokenizer()
    ids = {word: tokens.encode(word)[0] for word in caption_words()}
    return WordTokens(ids, tokens.sot_token_id, tokens.eot_token_id, vocabulary.CONTEXT_LENGTH)


def _start_model(options: Options) -> nn.Module:
    clip = new_model()
    if options.init is not None:
        clip.load_state_dict({k: v.float() for k, v in load_file(str(options.init)).items()}, strict=False)
        return clip
    vision = CONFIG["model_cfg"]["vision_cfg"]
    positions = sine_cosine(vision["image_size"] // vision["patch_size"], vision["width"])
    with torch.no_grad():
        clip.visual.positional_embedding.copy_(positions * POSITION_SCALE)  # type: ignore[union-attr, operator, arg-type]
    return clip


def train(options: Options) -> dict[str, float]:
    """Train for `steps` or `minutes`, or until SIGTERM or SIGINT; save the model and return its evaluation."""
    stopped: list[int] = []
    # Start the feed first: its workers are forked, which must happen before a GPU or threads are in use.
    with Feed(_word_tokens(), options.workers, options.seed, options.positions) as feed:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _frame: stopped.append(received))
        torch.manual_seed(options.seed)
        torch.set_float32_matmul_precision("high")
        device = torch.device(options.device)
        preprocess = CONFIG["preprocess_cfg"]
        clip = _start_model(options)
        learner = Learner(clip, preprocess["mean"], preprocess["std"], options.positions).to(device)
        optimizer = torch.optim.AdamW(
            _groups(learner), lr=options.lr, betas=(0.9, 0.98), eps=1e-6, fused=device.type == "cuda"
        )
        step_loss = torch.compile(learner) if options.compile else learner
        pool = Pool(options.pool, vocabulary.CONTEXT_LENGTH, device)
        step, began, reported = 0, time.monotonic(), time.monotonic()
        while pool.filled < min(options.batch * 2, options.pool):
            chunk = feed.take(wait=True)
            assert chunk is not None
            pool.add(chunk)
        while not stopped:
            part = max(step / options.steps, (time.monotonic() - began) / (options.minutes * 60))
            if part >= 1:
                break
            # A few chunks a step at most, so that the model never waits, and no more than it uses: on a small machine
            # drawing would take time from training.
            for _ in range(8):
                if pool.drawn > (step + 2) * options.batch:
                    break
                fresh = feed.take(wait=False)
                if fresh is None:
                    break
                pool.add(fresh)
            rate = options.lr * min(1.0, (step + 1) / WARMUP) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * part)))
            for group in optimizer.param_groups:
                group["lr"] = rate
            learner.kept_patches = MASKED_KEEP if part < MASKED_PART else None
            images, *truth = pool.batch(options.batch)
            images = augment(images)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                contrastive, auxiliary, patch = step_loss(images, *truth)
                loss = contrastive + AUXILIARY_WEIGHT * auxiliary + patch
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
            optimizer.step()
            with torch.no_grad():
                clip.logit_scale.clamp_(max=MAX_LOGIT_SCALE)  # type: ignore[union-attr, operator]
            step += 1
            if time.monotonic() - reported > options.report:
                reported = time.monotonic()
                save(clip, options.out)
                figures = evaluate(clip, device=options.device, scenes=256)
                shown = " ".join(f"{name} {value:.3f}" for name, value in figures.items())
                print(
                    f"step {step} at {reported - began:.0f} s, {pool.drawn} drawn: "
                    f"contrastive {contrastive.item():.3f} auxiliary {auxiliary.item():.4f} "
                    f"patch {patch.item():.3f} rate {rate:.1e} | {shown}",
                    flush=True,
                )
    save(clip, options.out)
    final = evaluate(clip, device=options.device, scenes=2048)
    print(f"done: {step} steps, {pool.drawn} frames drawn, {time.monotonic() - began:.0f} s")
    print(json.dumps({name: round(value, 4) for name, value in final.items()}))
    return final


def _options(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m maclip.tiny.pretrain", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for open_clip_model.safetensors")
    parser.add_argument("--steps", type=int, default=40_000)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--no-positions", dest="positions", action="store_false")
    parser.add_argument("--pool", type=int, default=None, help="frames kept (default 262144, on a CPU 16384)")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--init", type=Path, default=None, help="weights to go on from")
    parser.add_argument("--report", type=float, default=30.0, help="seconds between evaluations")
    given = vars(parser.parse_args(arguments))
    given["pool"] = given["pool"] or (262_144 if given["device"].startswith("cuda") else 16_384)
    return Options(**given)


if __name__ == "__main__":
    train(_options(sys.argv[1:]))
