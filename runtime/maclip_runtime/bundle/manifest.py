"""`manifest.json`: what a bundle says of itself, as frozen dataclasses that refuse what they do not know.

The export writes it and the runtime reads it, both through this file, so the two cannot drift apart.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

from maclip_runtime.bundle.schema import from_dict, read_json, schema_error
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Preprocess

SCHEMA_VERSION = 3
UNSEALED = 2  # the schema before, whose manifest no digest vouches for
MANIFEST_FILE = "manifest.json"
MOST_BYTES = 4 << 20  # of a manifest, which has a few kilobytes
MOST_PIXELS_A_SIDE = 4096  # of a frame as the model takes it
BLANK = "0" * 64
UNIT_LENGTH, RAW_LENGTH = TEXT_LENGTHS = ("unit", "raw")  # values of `Names.text_length`


@dataclass(frozen=True)
class Backbone:
    """The frozen CLIP: open_clip's name, where its weights came from, and their sha256."""

    name: str
    pretrained: str
    weights_sha256: str


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph: type name ("uint8", "float32", "bool"); a letter is a free axis."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Census:
    """What one graph is made of, counted from the written file, not taken from a flag.

    `weights` gives the bytes of constants by type ("float32", "float16", "int8", ...), `products` the number
    of matrix products and convolutions by the type they multiply in, `nodes` all nodes of the graph.
    """

    weights: dict[str, int]
    products: dict[str, int]
    nodes: int


@dataclass(frozen=True)
class GraphSpec:
    """One ONNX graph of the bundle: its file, what goes in and out, and what it is made of."""

    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    census: Census

    def require(self, inputs: list[tuple[str, str]], outputs: list[tuple[str, str]]) -> None:
        """Compare names and types that an engine found in the file. Raises `bundle-schema` where others are stated."""
        for side, stated, found in (("inputs", self.inputs, inputs), ("outputs", self.outputs, outputs)):
            wanted = [(tensor.name, tensor.dtype) for tensor in stated]
            if wanted != found:
                raise schema_error(f"{self.file} has {side} {found}, the manifest says {wanted}.")


@dataclass(frozen=True)
class FileSpec:
    """Size in bytes and sha256 of one file of the bundle."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Names:
    """The vocabulary: `count` names with a frozen text feature, and the prompt `templates` that they were put into.

    `text_length` is the length of every text feature that the graphs take. "unit": 1; each prompt's feature is scaled
    to 1, and so is their mean. "raw": the mean of the prompts' features as CLIP's text tower gives them. It holds for
    `names.safetensors` and for what `text.onnx` gives. Raises `bundle-schema` for any other value.
    """

    count: int
    templates: tuple[str, ...]
    text_length: str

    def __post_init__(self) -> None:
        if self.text_length not in TEXT_LENGTHS:
            raise schema_error(f"Names.text_length must be one of {TEXT_LENGTHS}, found {self.text_length!r:.60}.")


@dataclass(frozen=True)
class Limit:
    """When to answer "unknown": a distance above `distance` to the nearest class.

    `measured_on` says in words which clips that number comes from.
    """

    distance: float
    measured_on: str


@dataclass(frozen=True)
class GateFigure:
    """One graph against the float32 torch model on real frames: the worst differences found.

    `relative` is the largest absolute difference over the largest magnitude of the torch output, `cosine` the
    worst cosine along the last axis of the features, `probability` the largest difference of a probability
    (None where the graph gives none). A limit that is not None is what its figure must not pass.
    """

    relative: float
    cosine: float
    probability: float | None
    relative_limit: float | None
    cosine_limit: float | None
    cases: int


@dataclass(frozen=True)
class GateAccuracy:
    """Few-shot accuracy of torch and of the bundle on the same episodes, 0..1.

    `loss` is torch's accuracy minus the bundle's, `interval` the half-width of its paired 95 % interval over
    episodes, `limit` what `loss + interval` must not pass; `probability` is the largest difference of a
    probability; `measured_on` says in words on which clips.
    """

    torch: float
    bundle: float
    loss: float
    interval: float
    limit: float
    probability: float
    way: int
    shot: int
    episodes: int
    measured_on: str


@dataclass(frozen=True)
class TextEncoder:
    """How a device turns any name into a text feature: prompts, cleaning, tokens, `text.onnx`.

    `tokenizer` is the bundle's tokenizer file, `context_length` the tokens a prompt is padded or cut to,
    `clean` the name of open_clip's cleaning that comes before ("lower", "whitespace", "canonicalize").
    """

    tokenizer: str
    context_length: int
    clean: str


@dataclass(frozen=True)
class EngineFile:
    """A compiled engine that travels with the bundle: which graph, by which library, for which GPUs.

    `compute_capabilities` are like "8.6"; `profile` names the shapes it was built for.
    """

    graph: str
    file: str
    library: str
    library_version: str
    compute_capabilities: tuple[str, ...]
    profile: str


@dataclass(frozen=True)
class Provenance:
    """Where a bundle comes from. What is not known is None: a frozen CLIP has no run, an install no commit.

    `run` is the run folder's name, `run_sha256` the digest of its adapters, `commit` that of the tool,
    `libraries` the versions that took part, `data_sha256` the digest of the clips' list it was trained on.
    """

    run: str | None
    run_sha256: str | None
    commit: str | None
    data_sha256: str | None
    libraries: dict[str, str]
    created: str


@dataclass(frozen=True)
class Manifest:
    """Everything a device must know of a bundle.

    `trained` is False for a bundle of plain CLIP (`maclip export --frozen`). `adapted_depth` blocks, the
    last ones, carry adapters. `contract` is a hash of what makes features comparable: galleries keep it.
    `graphs` has `visual`, or `stem` and `tower`; and `prototype` and `match`; and `text` with a text encoder.
    `precision` is "float32", "fp16" or "int8"; `quantization` of the last "dynamic" or "static" (QDQ).
    `loss_allowed` says that the gate was overruled by `--allow-loss`.
    """

    schema: int
    tool_version: str
    backbone: Backbone
    trained: bool
    frames: int
    feature_width: int
    preprocess: Preprocess
    adapted_depth: int
    metric: str
    fusion_weight: float
    scale: float
    precision: str
    quantization: str | None
    limit: Limit | None
    names: Names
    text_encoder: TextEncoder | None
    graphs: dict[str, GraphSpec]
    engines: tuple[EngineFile, ...]
    files: dict[str, FileSpec]
    gate: dict[str, GateFigure]
    gate_accuracy: GateAccuracy | None
    loss_allowed: bool
    provenance: Provenance
    contract: str

    def to_json(self) -> str:
        """The manifest as indented JSON text with its seal; `from_json` gives the same manifest back."""
        data = {**dataclasses.asdict(self), "schema": SCHEMA_VERSION, "seal": BLANK}
        return sealed(json.dumps(data, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read `to_json`'s text.

        Raises `bundle-schema`: other version, unknown or missing keys, wrong types, impossible values; `bundle-corrupt`
        where a byte is not what was written.
        """
        if len(text) > MOST_BYTES:
            raise schema_error(f"manifest.json has more than {MOST_BYTES >> 20} MiB.")
        try:
            data = read_json(text)
        except ValueError as error:
            raise schema_error(f"manifest.json is not JSON ({error}).") from error
        schema = data.get("schema") if isinstance(data, dict) else None
        if schema not in (UNSEALED, SCHEMA_VERSION):
            raise schema_error(f"The bundle has schema {schema!r:.60}; this maclip reads schema {SCHEMA_VERSION}.")
        if schema == SCHEMA_VERSION:
            _check_seal(text, data.pop("seal", None))
        manifest = from_dict(cls, data)
        _check_values(manifest)
        return manifest


def sealed(text: str) -> str:
    """A manifest's text with the sha256 of its own bytes in the place of its blank seal."""
    head, mark, tail = text.rpartition(f'"seal": "{BLANK}"')
    return head + mark.replace(BLANK, hashlib.sha256(text.encode()).hexdigest()) + tail


def _check_seal(text: str, seal: object) -> None:
    """A digest finds what happened by accident; against what is done on purpose bundles are signed."""
    whole = isinstance(seal, str) and re.fullmatch("[0-9a-f]{64}", seal) is not None
    if not whole or sealed(text.replace(str(seal), BLANK)) != text:
        raise MaclipError(
            "bundle-corrupt",
            f"{MANIFEST_FILE} is not the file that was exported.",
            "Copy the bundle again from where it was exported, or export it again.",
        )


def _check_values(manifest: Manifest) -> None:
    """What would take endless memory or divide by nothing is refused here. Figures of the gate may be infinite."""
    preprocess, limit = manifest.preprocess, manifest.limit
    resize = preprocess.size if preprocess.resize is None else preprocess.resize
    finite = (manifest.fusion_weight, manifest.scale, *preprocess.mean, *preprocess.std)
    possible = (
        0 < preprocess.size <= resize <= MOST_PIXELS_A_SIDE
        and manifest.frames > 0
        and manifest.feature_width > 0
        and all(map(math.isfinite, finite))
        and (limit is None or math.isfinite(limit.distance))
    )
    if not possible:
        raise schema_error("The bundle's manifest has values that cannot be: sizes, frames, mean or scale.")


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes, as hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
