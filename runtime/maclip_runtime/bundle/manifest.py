"""`manifest.json`, the description of a bundle, as frozen dataclasses that refuse unknown keys.

The export writes it and the runtime reads it, both through this module, so that the two cannot disagree.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

from maclip_runtime.bundle.figures import GateAccuracy, GateFigure, Pairs
from maclip_runtime.bundle.schema import from_dict, read_json, schema_error
from maclip_runtime.bundle.vocabulary import Names, TextEncoder
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Preprocess

SCHEMA_VERSION = 7
MANIFEST_FILE = "manifest.json"
MAX_MANIFEST_BYTES = 4 << 20  # a manifest has a few kilobytes
MAX_FRAME_SIDE = 4096  # px, of a frame as the model takes it
MAX_FRAMES = 1024  # of a clip
MAX_CLIP_BYTES = 1 << 30  # of a clip's frames as the model takes them
MAX_WIDTH = 1 << 16  # numbers in a frame's feature
MAX_AXIS = 1 << 31  # of a graph's tensor
MAX_AXES = 8  # likewise
MAX_NAMES = 1_000_000  # of the vocabulary
MAX_CONTEXT = 1 << 14  # tokens of a prompt
BLANK_SEAL = "0" * 64
FORMS = ("dynamic", "static")  # of int8: ranges of activations found at run time, or measured before (QDQ)


@dataclass(frozen=True)
class Backbone:
    """The frozen CLIP: open_clip's name, its tag for the pretrained weights, and the weights' sha256."""

    name: str
    pretrained: str
    weights_sha256: str


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph: its name, dtype ("uint8", "float16", "float32", "bool") and shape.

    A letter in the shape is a dynamic axis.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Census:
    """What one graph consists of, counted in the written file.

    `weights` maps a dtype ("float32", "float16", "int8", ...) to the bytes of constants of that dtype, `products` maps
    a dtype to the number of matrix products and convolutions computed in it; `nodes` counts all nodes.
    """

    weights: dict[str, int]
    products: dict[str, int]
    nodes: int


@dataclass(frozen=True)
class GraphSpec:
    """One ONNX graph of the bundle: its file, inputs, outputs and census."""

    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    census: Census

    def require(self, inputs: list[tuple[str, str]], outputs: list[tuple[str, str]]) -> None:
        """Compare with the (name, dtype) pairs that an engine found in the file. Raises `bundle-schema`."""
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
class Limit:
    """The bundle's limit: above `distance` from the nearest class the answer is "unknown".

    `measured_on` describes the clips that it was measured on. `learned`: it is the distance of "none of these" that
    training learned, which then competes in the probabilities: those of the classes sum to 1 less that of none.
    """

    distance: float
    measured_on: str
    learned: bool


@dataclass(frozen=True)
class EngineFile:
    """A compiled engine in the bundle: its graph, the library that built it, and the GPUs it runs on.

    `compute_capabilities` are like "8.6"; `profile` gives the shapes it was built for.
    """

    graph: str
    file: str
    library: str
    library_version: str
    compute_capabilities: tuple[str, ...]
    profile: str


@dataclass(frozen=True)
class Provenance:
    """Where a bundle comes from; None is unknown (a frozen CLIP has no run, an installed package no commit).

    `run` is the run folder's name, `run_sha256` the digest of its adapters, `commit` the commit of maclip,
    `data_sha256` the digest of the list of training clips, `libraries` the versions used, `created` the time in ISO
    8601.
    """

    run: str | None
    run_sha256: str | None
    commit: str | None
    data_sha256: str | None
    libraries: dict[str, str]
    created: str


@dataclass(frozen=True)
class Form:
    """Another int8 form of the network: graphs that take the place of those of the same name, and the gate's figures.

    Its graphs share the weights' files with the first form.
    """

    graphs: dict[str, GraphSpec]
    gate: dict[str, GateFigure]
    gate_accuracy: GateAccuracy | None


@dataclass(frozen=True)
class Manifest:
    """Everything that a device must know about a bundle.

    `trained` is False for plain CLIP (`maclip export --frozen`). The last `adapted_depth` blocks carry adapters;
    none does with a side network. `cohort` is the number of training classes that the match graph compares a query
    with beside the enrolled ones (docs/method.md, section 8); 0: none.
    `contract` is a hash of what makes features comparable; galleries store it. `graphs` has `visual`, or `stem` and
    `tower`; `prototype` and `match`; and `text` with a text encoder. `precision` is "float32", "fp16" or "int8";
    `quantization` is the int8 form of `graphs`, "dynamic" or "static" (QDQ), else None; `forms` holds the other form
    where the bundle has both, and `pairs` what each form took with each engine (None: not measured). `loss_allowed` is
    True where `--allow-loss` overruled the gate.
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
    cohort: int
    fusion_weight: float
    scale: float
    precision: str
    quantization: str | None
    forms: dict[str, Form]
    pairs: Pairs | None
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

    @property
    def form_names(self) -> tuple[str, ...]:
        """The int8 forms that the bundle holds; none for another precision."""
        return () if self.quantization is None else (self.quantization, *self.forms)

    def in_form(self, form: str) -> Manifest:
        """The manifest as if `form` were its only int8 form. Raises ValueError where the bundle does not hold it."""
        if form == self.quantization:
            return dataclasses.replace(self, forms={})
        if form not in self.forms:
            raise ValueError(f"the bundle holds {self.form_names}, not {form!r}")
        other = self.forms[form]
        return dataclasses.replace(
            self,
            quantization=form,
            forms={},
            graphs={**self.graphs, **other.graphs},
            gate={**self.gate, **other.gate},
            gate_accuracy=other.gate_accuracy,
        )

    def to_json(self) -> str:
        """The manifest as indented JSON text with its seal; `from_json` gives the same manifest back."""
        data = {**dataclasses.asdict(self), "schema": SCHEMA_VERSION, "seal": BLANK_SEAL}
        return sealed(json.dumps(data, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read the text that `to_json` wrote.

        Raises `bundle-schema` for another version, unknown or missing keys, wrong types or impossible values, and
        `bundle-corrupt` where a byte has changed.
        """
        if len(text) > MAX_MANIFEST_BYTES:
            raise schema_error(f"manifest.json has more than {MAX_MANIFEST_BYTES >> 20} MiB.")
        try:
            data = read_json(text)
        except ValueError as error:
            raise schema_error(f"manifest.json is not JSON ({error}).") from error
        schema = data.get("schema") if isinstance(data, dict) else None
        if schema != SCHEMA_VERSION:
            raise schema_error(f"The bundle has schema {schema!r:.60}; this maclip reads schema {SCHEMA_VERSION}.")
        _check_seal(text, data.pop("seal", None))
        manifest = from_dict(cls, data)
        _check_values(manifest)
        return manifest


def sealed(text: str) -> str:
    """Replace the blank seal in a manifest's text by the sha256 of that text."""
    head, mark, tail = text.rpartition(f'"seal": "{BLANK_SEAL}"')
    return head + mark.replace(BLANK_SEAL, hashlib.sha256(text.encode()).hexdigest()) + tail


def _check_seal(text: str, seal: object) -> None:
    """The seal detects accidental damage; deliberate changes are detected by a signature."""
    is_digest = isinstance(seal, str) and re.fullmatch("[0-9a-f]{64}", seal) is not None
    if not is_digest or sealed(text.replace(str(seal), BLANK_SEAL)) != text:
        raise MaclipError(
            "bundle-corrupt",
            f"{MANIFEST_FILE} is not the file that was exported.",
            "Copy the bundle again from where it was exported, or export it again.",
        )


def _check_values(manifest: Manifest) -> None:
    """Refuse values that would need unbounded memory or divide by zero. The gate's figures may be infinite."""
    preprocess, limit = manifest.preprocess, manifest.limit
    resize = preprocess.size if preprocess.resize is None else preprocess.resize
    finite = (manifest.fusion_weight, manifest.scale, *preprocess.mean, *preprocess.std)
    possible = (
        0 < preprocess.size <= resize <= MAX_FRAME_SIDE
        and 0 < manifest.frames <= MAX_FRAMES
        and manifest.frames * preprocess.size**2 * 3 <= MAX_CLIP_BYTES
        and 0 < manifest.feature_width <= MAX_WIDTH
        and 0 <= manifest.adapted_depth <= MAX_FRAMES
        and 0 <= manifest.names.count <= MAX_NAMES
        and 0 <= manifest.cohort <= MAX_NAMES
        and (manifest.text_encoder is None or 0 < manifest.text_encoder.context_length <= MAX_CONTEXT)
        and (manifest.text_encoder is None or len(manifest.names.templates) > 0)
        and all(map(math.isfinite, finite))
        and (limit is None or math.isfinite(limit.distance))
    )
    if not possible:
        raise schema_error("The bundle's manifest has impossible values: sizes, frames, counts, mean, scale or limit.")
    forms = manifest.form_names
    if len(set(forms)) < len(forms) or not set(forms) <= set(FORMS) or (manifest.forms and not forms):
        raise schema_error(f"The int8 forms of a bundle are {' and '.join(FORMS)}, each once; found {forms!r:.60}.")
    for form, other in manifest.forms.items():
        for name, graph in other.graphs.items():
            if name not in manifest.graphs or not _same_tensors(graph, manifest.graphs[name]):
                raise schema_error(f"The {form} form of {name:.60} takes or gives other tensors than the first form.")
    for graph in (*manifest.graphs.values(), *(g for other in manifest.forms.values() for g in other.graphs.values())):
        tensors = (*graph.inputs, *graph.outputs)
        if not graph.inputs or not graph.outputs or not all(_possible(tensor.shape) for tensor in tensors):
            raise schema_error(f"The manifest gives {graph.file} impossible inputs or outputs.")


def _same_tensors(a: GraphSpec, b: GraphSpec) -> bool:
    return (a.inputs, a.outputs) == (b.inputs, b.outputs)


def _possible(shape: tuple[int | str, ...]) -> bool:
    sizes = [axis for axis in shape if isinstance(axis, int)]
    return 0 < len(shape) <= MAX_AXES and all(0 < size <= MAX_AXIS for size in sizes)


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes, as hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
