"""Write a bundle: graphs, vocabulary and manifest go to a temporary folder, are checked, then moved into place."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import maclip
from maclip.backbones.loading import clip_sha256
from maclip.model.maclip import MaClip
from maclip_export.bundle.names import write_names
from maclip_export.bundle.pairs import measure_pairs
from maclip_export.bundle.provenance import Origin, provenance_of
from maclip_export.bundle.quantization import Tried, keep_forms, try_forms
from maclip_export.bundle.text_encoder import text_graph, write_tokenizer
from maclip_export.folders import new_folder
from maclip_export.gate.accuracy import AccuracyCheck
from maclip_export.gate.gate import ALLOW_LOSS_FIX, QUANTIZED, Gate
from maclip_export.gate.trial import PARITY_CLIPS, TrialClips
from maclip_export.graphs import Graph, graphs_of, takes_raw_text
from maclip_export.onnx.census import census
from maclip_export.onnx.precision import to_half
from maclip_export.onnx.writer import write_onnx
from maclip_export.options import ExportOptions
from maclip_export.report import Candidate, Exported, Report
from maclip_export.targets.rtx import write_engines
from maclip_runtime.bundle.figures import GateAccuracy
from maclip_runtime.bundle.manifest import (
    MANIFEST_FILE,
    SCHEMA_VERSION,
    Backbone,
    EngineFile,
    FileSpec,
    Form,
    GraphSpec,
    Limit,
    Manifest,
    file_sha256,
)
from maclip_runtime.engines.tensorrt.engines import refuse_unbuildable
from maclip_runtime.errors import MaclipError


@dataclass(frozen=True)
class Material:
    """What an export needs beside the model.

    names: of the vocabulary.
    trial: the clips of the gate.
    calibration: the clips that static int8 is calibrated on; None where it is not asked for.
    limit: the distance above which an answer is "unknown"; None: not measured.
    names_used: whether clips are enrolled with their names by default.
    origin: the run of the model; None: a model in memory.
    """

    names: Sequence[str]
    trial: TrialClips
    calibration: TrialClips | None = None
    limit: Limit | None = None
    names_used: bool = True
    origin: Origin | None = None


def write_bundle(
    model: MaClip,
    out: Path,
    material: Material,
    options: ExportOptions | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Report:
    """Write `model` as a bundle into the folder `out`; `maclip_export.export` finds the material.

    A bundle that did not pass the gate never has the final name. The export runs on the CPU; afterwards the model is on
    its own device and in its own mode again.

    Raises `output-exists` (unless `options.force`, which replaces a bundle), `output-unwritable`,
    `precision-rejected` (unless `options.allow_loss`), `option-invalid`, and with `options.rtx` what building
    engines raises.
    """
    options = options or ExportOptions()
    with _as_exported(model), new_folder(out, options.force, _is_bundle, "bundle") as folder:
        return _Writer(model, folder, material, options, note).write()


@contextmanager
def _as_exported(model: MaClip) -> Iterator[None]:
    """The model on the CPU in evaluation mode, for the block."""
    device, training = model.pixel_mean.device, model.training
    model.cpu().eval()
    try:
        yield
    finally:
        model.to(device).train(training)


def _is_bundle(folder: Path) -> bool:
    """Whether a folder holds a bundle, of any version. Other programs write a `manifest.json` too."""
    try:
        facts = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(facts, dict) and {"schema", "graphs", "files"} <= facts.keys()


class _Writer:
    """One export, step by step."""

    def __init__(
        self, model: MaClip, folder: Path, material: Material, options: ExportOptions, note: Callable[[str], None]
    ) -> None:
        self.model, self.folder, self.material, self.options, self.note = model, folder, material, options, note
        self.text = model.encode_names(material.names)
        self.graphs = [*graphs_of(model), *([text_graph(model)] if options.text_encoder else [])]
        self.gate = self._gate(material.trial, PARITY_CLIPS)
        self.accuracy = AccuracyCheck(model, material.trial)
        self.seconds: dict[str, float] = {}

    def write(self) -> Report:
        """Write and check everything; the manifest comes last."""
        for graph in self.graphs:
            self.note(f"exporting {graph.name}")
            begun = time.monotonic()
            path = write_onnx(graph, self.folder)[0]
            if self.options.precision == "fp16":
                to_half(path, matching=graph.name == "match")
            self.seconds[graph.name] = time.monotonic() - begun
        tried = self._try_forms() if self.options.precision == "int8" else []
        kept = [one for one in tried if one.passes or self.options.allow_loss]
        kept = kept or sorted(tried, key=lambda one: -one.cosine)[:1]  # which the checks refuse
        placed = keep_forms(kept, self.folder) if kept else {}
        first = kept[0] if kept else None
        rows = [self._checked(graph, first) for graph in self.graphs]
        specs = {graph.name: self._spec(graph, self.folder / f"{graph.name}.onnx") for graph in self.graphs}
        accuracy = self._accuracy(first)
        forms = {one.form: self._form(one, placed[one.form]) for one in kept[1:]}
        manifest = self._manifest(specs, rows, accuracy, first.form if first else None, forms)
        if kept:
            manifest = replace(manifest, pairs=measure_pairs(self.folder, manifest, self.note))
        (self.folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
        candidates = tuple(Candidate(one.form, one.cosine, one in kept) for one in tried)
        return Report(tuple(rows), accuracy, candidates, manifest)

    def _gate(self, clips: TrialClips, count: int) -> Gate:
        """A gate on the first clip of each of the first `count` classes."""
        names = self.text if len(self.text) else self.model.encode_names(["an action"])
        return Gate(self.model, clips.first_of_each(count), names, self.options.precision)

    def _try_forms(self) -> list[Tried]:
        calibration, quantization = self.material.calibration, self.options.quantization
        if calibration is None and quantization != "dynamic":
            raise MaclipError(
                "option-invalid", "Static quantization needs clips to calibrate on.", "Give --calibration-data."
            )
        seen = self._gate(calibration, len(calibration.names)) if calibration is not None else None
        begun = time.monotonic()
        tried = try_forms(
            self.graphs, self.folder, self.gate, seen, quantization, accuracy=self._compared, note=self.note
        )
        for graph in self.graphs:
            if graph.name in QUANTIZED:
                self.seconds[graph.name] += time.monotonic() - begun
        return tried

    def _checked(self, graph: Graph, form: Tried | None) -> Exported:
        """The row of one graph, in the first int8 form; a form that passed was checked before."""
        path = self.folder / f"{graph.name}.onnx"
        if form is not None and graph.name in form.figures and (form.passes or self.options.allow_loss):
            figure = form.figures[graph.name]
        else:
            self.note(f"checking {graph.name} against torch")
            figure = self.gate.check(graph, path, self.options.allow_loss)
        size = sum(f.stat().st_size for f in self.folder.glob(f"{graph.name}.*"))
        return Exported(graph.name, size, self.seconds[graph.name], census(path), figure)

    def _spec(self, graph: Graph, path: Path) -> GraphSpec:
        return GraphSpec(path.name, graph.inputs, graph.outputs, census(path))

    def _form(self, form: Tried, files: dict[str, Path]) -> Form:
        graphs = {graph.name: self._spec(graph, files[graph.name]) for graph in self.graphs if graph.name in files}
        return Form(graphs, form.figures, form.accuracy)

    def _compared(self, network: dict[str, Path]) -> GateAccuracy | None:
        """Few-shot accuracy beside torch's, with these files for some of the graphs."""

        def progress(done: int, total: int) -> None:
            self.note(f"comparing accuracy with torch: {done} of {total} clips")

        files = {graph.name: self.folder / f"{graph.name}.onnx" for graph in self.graphs}
        return self.accuracy.run({**files, **network}, progress)

    def _accuracy(self, form: Tried | None) -> GateAccuracy | None:
        found = form.accuracy if form is not None else self._compared({})
        if found is not None and not self.options.allow_loss and not found.loss + found.interval <= found.limit:
            raise MaclipError(
                "precision-rejected",
                f"Few-shot accuracy falls from {found.torch:.1%} to {found.bundle:.1%} (loss {100 * found.loss:.1f} "
                f"± {100 * found.interval:.1f} points, {100 * found.limit:.0f} is allowed) on {found.measured_on}. "
                "Nothing was written.",
                ALLOW_LOSS_FIX,
            )
        return found

    def _manifest(
        self,
        specs: dict[str, GraphSpec],
        rows: list[Exported],
        accuracy: GateAccuracy | None,
        form: str | None,
        forms: dict[str, Form],
    ) -> Manifest:
        model, folder, backbone = self.model, self.folder, self.model.backbone
        names = write_names(folder, self.material.names, self.text, model, used=self.material.names_used)
        encoder = write_tokenizer(model, folder) if self.options.text_encoder else None
        engines = self._engines({form: specs} | {name: {**specs, **other.graphs} for name, other in forms.items()})
        return Manifest(
            schema=SCHEMA_VERSION,
            tool_version=maclip.__version__,
            backbone=Backbone(backbone.name, backbone.pretrained, backbone.sha256),
            trained=bool(model.tuned_parameters()),
            frames=model.config.frames,
            feature_width=model.feature_width,
            preprocess=backbone.preprocess,
            adapted_depth=model.adapted_depth,
            metric=model.config.metric.kind,
            cohort=0 if model.cohort is None else len(model.cohort.prototypes),
            fusion_weight=model.config.text.fusion_weight,
            scale=model.scale,
            precision=self.options.precision,
            quantization=form,
            forms=forms,
            pairs=None,
            limit=self.material.limit,
            names=names,
            text_encoder=encoder,
            graphs=specs,
            engines=engines,
            files={f.name: FileSpec(file_sha256(f), f.stat().st_size) for f in sorted(folder.iterdir())},
            gate={row.graph: row.gate for row in rows},
            gate_accuracy=accuracy,
            loss_allowed=self.options.allow_loss,
            provenance=provenance_of(self.material.origin),
            contract=contract_of(model),
        )

    def _engines(self, graphs: dict[str | None, dict[str, GraphSpec]]) -> tuple[EngineFile, ...]:
        """The engines for RTX cards; of the int8 forms they need the static one."""
        if not self.options.rtx:
            return ()
        form = "static" if "static" in graphs else next(iter(graphs))
        refuse_unbuildable(self.options.precision, form)
        return write_engines(self.folder, graphs[form], self.model.config.frames, note=self.note)


def contract_of(model: MaClip) -> str:
    """A hash of what makes stored features comparable.

    That is: visual weights and activation, how frames are prepared, T, D', and the length of text features.
    """
    visual = {key: value for key, value in model.clip.state_dict().items() if key.startswith("visual.")}
    tuned = {k: v for k, v in model.tuned_state().items() if k.startswith(("blocks.", "side.", "temporal_embedding"))}
    facts = {
        "weights": clip_sha256(model.clip, visual | tuned),
        "preprocess": repr(model.backbone.preprocess),
        "frames": model.config.frames,
        "feature_width": model.feature_width,
    }
    if takes_raw_text(model):
        facts["text_length"] = "raw"
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
