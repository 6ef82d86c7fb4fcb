"""A tokenizer that open_clip takes from a model hub (SigLIP, CLIPA), read only when the first name is to be encoded.

Clips without a name need none. It is read from `tokenizer.json` by the `tokenizers` library, as a device reads it.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, get_clean_fn
from torch import Tensor

from maclip_runtime.errors import MaclipError, first_line

TOKENIZER_FILE, TOKENIZER_CONFIG_FILE = "tokenizer.json", "tokenizer_config.json"


class HubTokenizer:
    """Prompts to tokens int64 [n, context length], padded and cut, for the open_clip model `name`.

    `folder` is where the hub's files may lie, beside the weights. Raises `tokenizer-unavailable` when first used.
    """

    def __init__(self, name: str, folder: Path | None = None) -> None:
        config = open_clip.get_model_config(name)["text_cfg"]
        options = config.get("tokenizer_kwargs", {})
        self.name, self.folder, self.source = name, folder, str(config["hf_tokenizer_name"])
        self.context_length = int(config.get("context_length", DEFAULT_CONTEXT_LENGTH))
        self.clean = str(options.get("clean", "whitespace"))  # the name of one of open_clip's cleanings
        self.strip_sep_token = bool(options.get("strip_sep_token", False))

    def __call__(self, texts: list[str]) -> Tensor:
        """Clean, tokenize, pad and cut."""
        clean = get_clean_fn(self.clean)
        rows = torch.tensor([found.ids for found in self.tokens.encode_batch([clean(text) for text in texts])])
        if self.strip_sep_token:
            rows[rows == self._id("sep_token")] = 0
        return rows

    @cached_property
    def tokens(self) -> Any:
        """The `tokenizers.Tokenizer`, which pads and cuts to the context length."""
        from tokenizers import Tokenizer

        folder, config = self._files
        try:
            made = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
        except Exception as error:  # what the library raises has no class of its own
            raise self._unavailable(f"{folder / TOKENIZER_FILE} cannot be read: {first_line(error)}") from error
        made.enable_truncation(self.context_length, direction=config.get("truncation_side", "right"))
        pad, direction = _text(config.get("pad_token")), config.get("padding_side", "right")
        number = made.token_to_id(pad) if pad else None
        if number is None:
            raise self._unavailable(f"{folder / TOKENIZER_CONFIG_FILE} names no pad_token of the vocabulary")
        made.enable_padding(direction=direction, pad_id=number, pad_token=pad, length=self.context_length)
        return made

    @cached_property
    def _files(self) -> tuple[Path, dict[str, Any]]:
        """The folder with the hub's two files, and what the second says."""
        try:
            folder = self.folder if self.folder is not None and (self.folder / TOKENIZER_FILE).is_file() else None
            if folder is None:
                folder = _download(self.source)
            config: dict[str, Any] = json.loads((folder / TOKENIZER_CONFIG_FILE).read_text(encoding="utf-8"))
        except Exception as error:  # a hub's library fails in many ways: no network, no such file, no access
            raise self._unavailable(first_line(error)) from error
        return folder, config

    def _id(self, role: str) -> int:
        number = self.tokens.token_to_id(_text(self._files[1].get(role)) or "")
        if number is None:
            raise self._unavailable(f"{TOKENIZER_CONFIG_FILE} names no {role} of the vocabulary")
        return int(number)

    def _unavailable(self, why: str) -> MaclipError:
        return MaclipError(
            "tokenizer-unavailable",
            f"{self.name} reads names with the tokenizer {self.source} of a model hub, which is not at hand ({why}).",
            f"Put its {TOKENIZER_FILE} and {TOKENIZER_CONFIG_FILE} into the folder of the weights and give that: "
            "--pretrained FOLDER.",
        )


def _download(source: str) -> Path:
    from huggingface_hub import hf_hub_download

    hf_hub_download(source, TOKENIZER_CONFIG_FILE)
    return Path(hf_hub_download(source, TOKENIZER_FILE)).parent


def _text(token: Any) -> str | None:
    """A token as `tokenizer_config.json` writes it: its text, or an object that holds its text."""
    found = token.get("content") if isinstance(token, dict) else token
    return found if isinstance(found, str) else None
