"""The text encoder for the device: the text tower as a graph, and its tokenizer as `tokenizer.json`.

The `tokenizers` library reads that file. Before it the runtime cleans the text
(`maclip_runtime.engines.text_encoder`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from open_clip.tokenizer import SimpleTokenizer, get_clean_fn
from torch import Tensor, nn
from torch.nn import functional as F

from maclip.backbones.hub_tokenizer import HubTokenizer
from maclip.backbones.text_tower import encode_tokens, text_tower
from maclip.model.maclip import MaClip
from maclip_export.graphs import Graph, takes_raw_text
from maclip_runtime.bundle.manifest import TensorSpec
from maclip_runtime.bundle.vocabulary import TextEncoder
from maclip_runtime.engines.text_encoder import CLEANINGS
from maclip_runtime.errors import MaclipError

TEXT_GRAPH = "text"
TOKENIZER_FILE = "tokenizer.json"
END_OF_WORD = "</w>"
# The words of SimpleTokenizer: endings, letters, digits, the rest. It ignores case, so a long s matches an s.
ENDINGS = "'[sSſ]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
LETTERS, DIGITS, REST = r"[\p{L}]", r"[\p{N}]", r"[^\s\p{L}\p{N}]"


class _Text(nn.Module):
    """Tokens of prompts to features, of length 1 or as CLIP gives them (`PrototypeConfig.text_length`)."""

    def __init__(self, model: MaClip) -> None:
        super().__init__()
        self.clip = model.clip
        self.raw = takes_raw_text(model)

    def forward(self, tokens: Tensor) -> Tensor:
        features = encode_tokens(self.clip, tokens)
        return features if self.raw else F.normalize(features, dim=-1)


def text_graph(model: MaClip) -> Graph:
    """The graph `text`: tokens int64 [B, L] of prompts, L the context length -> text f32 [B, D'].

    Its features have length 1, or CLIP's own where the prototype module reads raw text. The device takes the mean over
    the prompts of one name, as `MaClip.encode_names` does. Raises `text-unsupported` where `write_tokenizer` does.
    """
    _cleaning(model)
    tokens = TensorSpec("tokens", "int64", ("B", context_length(model)))
    return Graph(TEXT_GRAPH, _Text(model), (tokens,), (TensorSpec("text", "float32", ("B", model.feature_width)),))


def write_tokenizer(model: MaClip, folder: Path) -> TextEncoder:
    """Write the model's tokenizer as `tokenizer.json` into `folder`; returns its section of the manifest.

    The file includes padding, truncation to the context length, and the start and end tokens. Raises
    `text-unsupported` for a tokenizer that does more than the `tokenizers` library can.
    """
    clean, length, own = _cleaning(model), context_length(model), model.backbone.tokenizer
    if isinstance(own, HubTokenizer):
        made = own.tokens
    else:
        made = _from_simple(own, length) if isinstance(own, SimpleTokenizer) else _from_hugging_face(own, length)
    made.save(str(folder / TOKENIZER_FILE))
    return TextEncoder(TOKENIZER_FILE, length, clean)


def context_length(model: MaClip) -> int:
    """The number of tokens that the text tower reads."""
    own: Any = model.backbone.tokenizer
    return int(getattr(text_tower(model.clip), "context_length", None) or own.context_length)


def _from_simple(own: SimpleTokenizer, length: int) -> Any:
    """open_clip's byte pair encoding, with the same ids.

    The text of a special token inside a name becomes that token; open_clip reads it as punctuation if other punctuation
    precedes it.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, processors

    start, end = (own.decoder[token] for token in (own.sot_token_id, own.eot_token_id))
    merges = [pair for pair in sorted(own.bpe_ranks, key=own.bpe_ranks.__getitem__) if len(pair) == 2]
    made = Tokenizer(models.BPE(vocab=own.encoder, merges=merges, end_of_word_suffix=END_OF_WORD))
    made.add_special_tokens([AddedToken(own.decoder[token], normalized=False) for token in own.all_special_ids])
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_words()), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(start, own.sot_token_id), (end, own.eot_token_id)]
    )
    made.enable_truncation(length)
    made.enable_padding(length=length, pad_id=0, pad_token=own.decoder[0])
    return made


def _words() -> str:
    """SimpleTokenizer's pattern with its character classes written out.

    What counts as a letter depends on the Unicode version, and the device's library may have another than Python's
    `regex`.
    """
    return f"{ENDINGS}|{_written_out(LETTERS)}+|{_written_out(DIGITS)}|{_written_out(REST)}+"


def _written_out(kind: str) -> str:
    """A character class with the ranges of all characters that match `kind` in Python's `regex`."""
    import regex  # type: ignore[import-untyped]

    everything = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    runs = (run for found in regex.findall(f"{kind}+", everything, regex.IGNORECASE) for run in _unbroken(found))
    return "[" + "".join(f"\\x{{{ord(run[0]):X}}}-\\x{{{ord(run[-1]):X}}}" for run in runs) + "]"


def _unbroken(run: str) -> list[str]:
    """A run of ascending characters, split where the surrogates are missing."""
    before, after = ([c for c in run if (ord(c) < 0xD800) == low] for low in (True, False))
    return ["".join(part) for part in (before, after) if part]


def _from_hugging_face(own: Any, length: int) -> Any:
    """A tokenizer that open_clip takes from `transformers`, with the padding and truncation that open_clip asks for."""
    from tokenizers import Tokenizer

    theirs = own.tokenizer
    made = Tokenizer.from_str(theirs.backend_tokenizer.to_str())
    made.enable_truncation(length, direction=theirs.truncation_side)
    made.enable_padding(
        length=length,
        direction=theirs.padding_side,
        pad_id=theirs.pad_token_id,
        pad_token=theirs.pad_token,
        pad_type_id=theirs.pad_token_type_id,
    )
    return made


def _cleaning(model: MaClip) -> str:
    """The name of the cleaning that the model's tokenizer does first. Raises `text-unsupported`."""
    own: Any = model.backbone.tokenizer
    if isinstance(own, HubTokenizer) and not own.strip_sep_token and own.clean in CLEANINGS:
        return own.clean
    simple = isinstance(own, SimpleTokenizer) and own.reduction_fn is None
    borrowed = hasattr(getattr(own, "tokenizer", None), "backend_tokenizer")
    clean = next((name for name in CLEANINGS if get_clean_fn(name) is getattr(own, "clean_fn", None)), None)
    if simple and clean:
        return clean
    if borrowed and clean and not own.tokenizer_mode and not own.strip_sep_token:
        return clean
    raise MaclipError(
        "text-unsupported",
        f"The tokenizer of {model.backbone.name} is of a kind that the device cannot run.",
        "Export without --text-encoder; --names FILE puts the names that you need into the bundle.",
    )
