"""Tokenizers that open_clip takes from a model hub (SigLIP, CLIPA), loaded when the first name is encoded.

The `tokenizers` library reads `tokenizer.json`, as on a device.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, get_clean_fn
from torch import Tensor

from maclip_runtime.errors import MaclipError, first_line

TOKENIZER_FILE, TOKENIZER_CONFIG_FILE = "tokenizer.json", "tokenizer_config.json"


class HubTokenizer:
    """Prompts -> tokens int64 [n, context length], padded and truncated, for the open_clip model `name`.

    config: the model's `text_cfg` in open_clip's form.
    folder: may hold the files of the hub, beside the weights; default None: download them.
    The first use raises `tokenizer-unavailable` if they are neither there nor on the network.
    """

    def __init__(self, name: str, config: dict[str, Any], folder: Path | None = None) -> None:
        options = config.get("tokenizer_kwargs", {})
        self.name, self.folder, self.source = name, folder, str(config["hf_tokenizer_name"])
        self.context_length = int(config.get("context_length", DEFAULT_CONTEXT_LENGTH))
        self.clean = str(options.get("clean", "whitespace"))  # name of an open_clip text cleaning function
        self.strip_sep_token = bool(options.get("strip_sep_token", False))

    def __call__(self, texts: list[str]) -> Tensor:
        """Clean, tokenize, pad and truncate."""
        clean = get_clean_fn(self.clean)
        rows = torch.tensor([found.ids for found in self.tokens.encode_batch([clean(text) for text in texts])])
        if self.strip_sep_token:
            rows[rows == self._id("sep_token")] = 0
        return rows

    @cached_property
    def tokens(self) -> Any:
        """The `tokenizers.Tokenizer`, which pads and truncates to the context length."""
        from tokenizers import Tokenizer

        folder, config = self._files
        try:
            made = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
        except Exception as error:  # the library raises plain Exception
            raise self._unavailable(f"{folder / TOKENIZER_FILE} could not be read: {first_line(error)}") from error
        made.enable_truncation(self.context_length, direction=config.get("truncation_side", "right"))
        pad, direction = _text(config.get("pad_token")), config.get("padding_side", "right")
        number = made.token_to_id(pad) if pad else None
        if number is None:
            raise self._unavailable(f"{folder / TOKENIZER_CONFIG_FILE} names no pad_token of the vocabulary")
        made.enable_padding(direction=direction, pad_id=number, pad_token=pad, length=self.context_length)
        return made

    @cached_property
    def _files(self) -> tuple[Path, dict[str, Any]]:
        """The folder with the two files of the hub, and the content of the second."""
        try:
            folder = self.folder if self.folder is not None and (self.folder / TOKENIZER_FILE).is_file() else None
            if folder is None:
                folder = _download(self.source)
            config: dict[str, Any] = json.loads((folder / TOKENIZER_CONFIG_FILE).read_text(encoding="utf-8"))
        except Exception as error:  # no network, no such file, no access, ...
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
            f"{self.name} needs the tokenizer {self.source} of a model hub, which is not available ({why}).",
            f"Put its {TOKENIZER_FILE} and {TOKENIZER_CONFIG_FILE} beside the weights and use --pretrained FOLDER.",
        )


def _download(source: str) -> Path:
    from huggingface_hub import hf_hub_download

    hf_hub_download(source, TOKENIZER_CONFIG_FILE)
    return Path(hf_hub_download(source, TOKENIZER_FILE)).parent


def _text(token: Any) -> str | None:
    """The text of a token of `tokenizer_config.json`, which is a string or an object with its text."""
    found = token.get("content") if isinstance(token, dict) else token
    return found if isinstance(found, str) else None
