"""The tiny CLIP's tokenizer: those of CLIP's byte pair merges that its words need, and a few more.

The file has the format of open_clip's `SimpleTokenizer` (a header line, then merges in order), so every word of the
drawn world, of the motions' names and of some common action names is one token (words that CLIP itself splits get
merges at the end); anything else falls back to bytes.
`python -m maclip.tiny.vocabulary` writes it again.
"""

from __future__ import annotations

import gzip
from itertools import pairwise
from pathlib import Path
from typing import Any

from maclip.world import captions, phrases

HERE = Path(__file__).resolve().parent
BPE_PATH = HERE / "bpe.txt.gz"
CONTEXT_LENGTH = 32  # tokens


def tokenizer() -> Any:
    """open_clip's `SimpleTokenizer` over the shipped merges: texts -> int64 [B, 32]."""
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer(bpe_path=str(BPE_PATH), context_length=CONTEXT_LENGTH)


def words() -> tuple[str, ...]:
    """The words that are one token each, sorted."""
    return tuple(sorted({*captions.words(), *phrases.words()}))


def _merges_for(word: str, ranks: dict[tuple[str, str], int]) -> list[tuple[str, str]]:
    """The merges, in order, that make `word` one token: by `ranks`, then left to right."""
    parts = [*word[:-1], word[-1] + "</w>"]
    used: list[tuple[str, str]] = []
    while len(parts) > 1:
        best = min(pairwise(parts), key=lambda pair: ranks.get(pair, len(ranks)))
        used.append(best)
        merged: list[str] = []
        index = 0
        while index < len(parts):
            if tuple(parts[index : index + 2]) == best:
                merged.append(parts[index] + parts[index + 1])
                index += 2
            else:
                merged.append(parts[index])
                index += 1
        parts = merged
    return used


def write(path: Path = BPE_PATH) -> int:
    """Write the merges file from open_clip's own; return the number of merges."""
    from open_clip.tokenizer import default_bpe

    with gzip.open(default_bpe()) as full:
        lines = full.read().decode("utf-8").split("\n")[1 : 49152 - 256 - 2 + 1]
    ranks = {(a, b): rank for rank, (a, b) in enumerate(line.split() for line in lines)}
    kept = {merge: None for word in words() for merge in _merges_for(word, ranks)}
    ordered = sorted(kept, key=lambda merge: ranks.get(merge, len(ranks)))  # a stable sort: ours come last
    # No line end after the last merge: SimpleTokenizer would read an empty merge there.
    text = "\n".join(["#version: maclip tiny", *(" ".join(merge) for merge in ordered)])
    path.write_bytes(gzip.compress(text.encode("utf-8"), mtime=0))
    return len(kept)


if __name__ == "__main__":
    print(f"{write()} merges in {BPE_PATH.name}")
