"""The part of the manifest about names: the vocabulary, and how a device turns any name into a text feature."""

from __future__ import annotations

from dataclasses import dataclass

from maclip_runtime.bundle.schema import schema_error

MAX_TEMPLATES = 1000
MAX_TEMPLATE_LENGTH = 1000  # characters
GAP = "{}"  # where a template takes the name
UNIT_LENGTH = "unit"
TEXT_LENGTHS = (UNIT_LENGTH, "raw")  # values of `Names.text_length`


@dataclass(frozen=True)
class Names:
    """The vocabulary: `count` names with a frozen text feature, and the prompt `templates` that they were put into.

    `text_length` is the length of every text feature that the graphs take. "unit": 1; each prompt's feature is scaled
    to 1, and so is their mean. "raw": the mean of the prompts' features as CLIP's text tower gives them. It holds for
    `names.safetensors` and for what `text.onnx` gives. Raises `bundle-schema` for any other value.
    `used`: whether clips are enrolled with their names unless somebody says otherwise; false where training gave no
    names, or found that they did not help on validation classes.
    """

    count: int
    templates: tuple[str, ...]
    text_length: str
    used: bool = True

    def __post_init__(self) -> None:
        if self.text_length not in TEXT_LENGTHS:
            raise schema_error(f"Names.text_length must be one of {TEXT_LENGTHS}, found {self.text_length!r:.60}.")
        if len(self.templates) > MAX_TEMPLATES:
            raise schema_error(f"Names.templates are {len(self.templates)}, at most {MAX_TEMPLATES}.")
        for template in self.templates:
            bare = template.replace(GAP, "", 1)
            # Formatting anything else could read attributes, or fill the memory with a width.
            if bare == template or {"{", "}"} & set(bare) or len(template) > MAX_TEMPLATE_LENGTH:
                raise schema_error(f"The template {template!r:.60} is not text with one {GAP} for the name.")

    def prompts(self, name: str) -> list[str]:
        """The prompts of a name: it takes the gap of each template."""
        return [template.replace(GAP, name) for template in self.templates]


@dataclass(frozen=True)
class TextEncoder:
    """How a device turns any name into a text feature with `text.onnx`.

    `tokenizer` is the bundle's tokenizer file, `context_length` the number of tokens that a prompt is padded or cut to,
    `clean` open_clip's name for the text cleaning before tokenization ("lower", "whitespace", "canonicalize").
    """

    tokenizer: str
    context_length: int
    clean: str
