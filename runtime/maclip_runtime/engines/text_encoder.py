"""Text features of any action name on the device: open_clip's cleaning, tokenization, `text.onnx`."""

from __future__ import annotations

import html
import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from maclip_runtime.bundle.names import unit_rows
from maclip_runtime.bundle.opening import Bundle
from maclip_runtime.bundle.vocabulary import UNIT_LENGTH
from maclip_runtime.engines.base import Array, as_float
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError
from maclip_runtime.reading.frames import Floats

Tokens = npt.NDArray[np.int64]

BATCH_PROMPTS = 32  # fits the memory of a small device
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


class NameEncoder:
    """Embeds action names with the text encoder of a bundle that has one.

    bundle: a bundle whose manifest has a `text_encoder`.
    run: an engine's `run`.

    Raises `text-missing` where a library is not installed, `bundle-schema` where the bundle's tokenizer or cleaning is
    not supported.
    """

    def __init__(self, bundle: Bundle, run: Callable[..., tuple[Array, ...]]) -> None:
        spec = bundle.manifest.text_encoder
        assert spec is not None, "the caller asks only bundles that have one"
        if spec.clean not in CLEANINGS:
            raise _schema_error(f"The bundle's text encoder uses the unknown text cleaning {spec.clean!r}.")
        self._run = run
        self._names = bundle.manifest.names
        self._unit = bundle.manifest.names.text_length == UNIT_LENGTH
        self._clean = CLEANINGS[spec.clean]
        self._context_length = spec.context_length
        self._tokenizer = _load_tokenizer(str(bundle.path / spec.tokenizer))

    def features(self, names: Sequence[str]) -> Floats:
        """The text features of n names as the export makes them, float32 [n, D'].

        The mean over the bundle's prompts of what `text.onnx` gives; scaled to length 1 where the bundle's
        `text_length` is "unit".
        """
        prompts = [prompt for name in names for prompt in self._names.prompts(name)]
        rows = []
        for start in range(0, len(prompts), BATCH_PROMPTS):
            (text,) = self._run("text", tokens=self.tokens(prompts[start : start + BATCH_PROMPTS]))
            rows.append(as_float(text))
        made = np.concatenate(rows).reshape(len(names), len(self._names.templates), -1)  # (n, prompts, D')
        mean = as_float(made.mean(axis=1))
        return unit_rows(mean) if self._unit else mean

    def tokens(self, prompts: Sequence[str]) -> Tokens:
        """Token ids with start and end tokens, padded or cut to the context length L: int64 [n, L]."""
        ids = [self._tokenizer.encode(self._clean(prompt)).ids for prompt in prompts]
        if any(len(found) != self._context_length for found in ids):
            raise _schema_error(f"The bundle's tokenizer does not give {self._context_length} tokens for each prompt.")
        return np.array(ids, dtype=np.int64).reshape(len(prompts), self._context_length)


def clean_basic(text: str) -> str:
    """Repair wrongly decoded text and unescape HTML entities, twice, as open_clip does."""
    import ftfy

    return html.unescape(html.unescape(ftfy.fix_text(text))).strip()


def clean_whitespace(text: str) -> str:
    """`clean_basic`, and runs of whitespace become one space."""
    return " ".join(clean_basic(text).split())


def clean_lower(text: str) -> str:
    """`clean_whitespace`, in lower case."""
    return clean_whitespace(text).lower()


def clean_canonicalize(text: str) -> str:
    """`clean_basic`, without punctuation, in lower case, runs of whitespace as one space."""
    return " ".join(clean_basic(text).replace("_", " ").translate(NO_PUNCTUATION).lower().split())


CLEANINGS: dict[str, Callable[[str], str]] = {
    "lower": clean_lower,
    "whitespace": clean_whitespace,
    "canonicalize": clean_canonicalize,
}


def _load_tokenizer(path: str) -> Any:
    try:
        import ftfy  # noqa: F401 (imported here so that the error comes before any work)
        from tokenizers import Tokenizer, __version__
    except ImportError as error:
        raise MaclipError(
            "text-missing",
            f"{error.name} is not installed; names outside the bundle's vocabulary need it.",
            "Install it: pip install 'maclip[text]'; or use --text NAME with a name of the vocabulary, or --no-text.",
            EXIT_MACHINE_LACKS,
        ) from error
    try:
        return Tokenizer.from_file(path)
    except Exception as error:  # the library has no exception class of its own
        raise _schema_error(f"tokenizers {__version__} cannot read the bundle's tokenizer ({error}).") from error


def _schema_error(message: str) -> MaclipError:
    return MaclipError("bundle-schema", message, "Update tokenizers, or export the bundle again.")
