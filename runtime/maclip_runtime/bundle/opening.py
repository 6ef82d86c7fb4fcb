"""Opening a bundle: every file in the directory is checked against the manifest before it is used."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path, PurePosixPath

import numpy as np

from maclip_runtime import values
from maclip_runtime.bundle.manifest import MANIFEST_FILE, MAX_MANIFEST_BYTES, Manifest, file_sha256
from maclip_runtime.bundle.names import NAMES_FILE, TEXT_FILE, find_name, name_unknown, read_names
from maclip_runtime.bundle.schema import corrupt_error, schema_error
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Floats

SIGNATURE_FILE = "model.sig"  # signs the manifest, so the manifest cannot list it


@dataclass(frozen=True)
class Bundle:
    """A checked bundle.

    `names` holds the n action names of the vocabulary, `text` their text features, float32 [n, D'] in the same order:
    of length 1, or of CLIP's own length where `manifest.names.text_length` is "raw". `trusts_engines`: whether compiled
    engines in it may be loaded.
    """

    path: Path
    manifest: Manifest
    names: tuple[str, ...]
    text: Floats
    trusts_engines: bool = False

    @classmethod
    def open(cls, path: str | PathLike[str], *, trust_engines: bool = False) -> Bundle:
        """Read and check the bundle in the folder `path`.

        trust_engines: whether compiled engines in the bundle may be loaded. To load an engine runs what its maker
            wrote, and the digests prove no maker: only for bundles whose origin is certain. Otherwise the engines are
            built from the graphs. `verify_bundle` trusts those of a bundle whose signature is right.

        Graphs are loaded from the same files later, so anyone who can write to the folder after this check can change
        what runs: keep it where only its owner may write.

        Raises `bundle-missing` where there is no manifest, `bundle-schema` where this version cannot read it,
        `bundle-corrupt` where a file is absent, altered, not listed, or outside the directory.
        """
        path = Path(values.path(path, "bundle"))
        trust_engines = values.flag(trust_engines, "trust_engines")
        manifest = Manifest.from_json(_read_manifest(path))
        _check_files(path, manifest)
        names, text = read_names(path, manifest)
        return cls(path, manifest, names, text, trust_engines)

    def has_name(self, name: str) -> bool:
        """Whether the vocabulary has this action name; letter case and underscores do not matter."""
        return find_name(self.names, values.text(name, "An action's name")) is not None

    def text_feature(self, name: str) -> Floats:
        """The frozen text feature of an action name, float32 [D']; letter case and underscores do not matter.

        Raises `name-unknown` with the nearest names of the vocabulary.
        """
        row = find_name(self.names, values.text(name, "An action's name"))
        if row is None:
            raise name_unknown(self.names, name)
        return np.asarray(self.text[row], dtype=np.float32)

    def graph_file(self, graph: str) -> Path:
        """The ONNX file of one graph. Raises `option-invalid` where the bundle has no such graph."""
        return self.path / self._graph(graph)

    def graph_digest(self, graph: str) -> str:
        """A digest of one graph and its weights, as hex. Results that are cached from the graph are keyed by it.

        Raises `option-invalid` where the bundle has no such graph.
        """
        files = self.manifest.files
        parts = sorted(
            f"{name}={files[name].sha256}" for name in (self._graph(graph), weights_file(graph)) if name in files
        )
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def in_form(self, form: str) -> Bundle:
        """The bundle as if `form` were its only int8 form. Raises ValueError where it does not hold that form."""
        return replace(self, manifest=self.manifest.in_form(form))

    def _graph(self, graph: str) -> str:
        if not isinstance(graph, str) or graph not in self.manifest.graphs:
            raise values.refused(graph, "graph", f"one of {', '.join(self.manifest.graphs)}")
        return self.manifest.graphs[graph].file


def weights_file(graph: str) -> str:
    """The file with the weights of a graph, in all its int8 forms; a graph without large weights has none."""
    return f"{graph}.onnx.data"


def _read_manifest(path: Path) -> str:
    file = path / MANIFEST_FILE
    try:
        if file.exists() and not file.is_file():  # reading a pipe would block
            raise corrupt_error(path, f"{MANIFEST_FILE} is not a file")
        with file.open("rb") as opened:
            return opened.read(MAX_MANIFEST_BYTES + 1).decode()
    except (FileNotFoundError, NotADirectoryError):
        raise MaclipError(
            "bundle-missing",
            f"{path} is not a bundle (no {MANIFEST_FILE}).",
            "Give the folder that `maclip export` wrote.",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise corrupt_error(path, f"{MANIFEST_FILE} cannot be read ({type(error).__name__})") from error


def _check_files(path: Path, manifest: Manifest) -> None:
    if len({name.casefold() for name in manifest.files}) < len(manifest.files):
        raise corrupt_error(path, "names of files differ in letter case only")  # one file on some disks
    for name, spec in manifest.files.items():
        file = _inside(path, name)
        try:
            if not file.is_file():
                raise corrupt_error(path, f"{name} is missing")
            if file.stat().st_size != spec.size or file_sha256(file) != spec.sha256:
                raise corrupt_error(path, f"{name} is not the file that was exported")
        except OSError as error:
            raise corrupt_error(path, f"{name} cannot be read ({error.strerror})") from error
    needed = [graph.file for graph in manifest.graphs.values()] + [NAMES_FILE, TEXT_FILE]
    needed += [graph.file for form in manifest.forms.values() for graph in form.graphs.values()]
    if manifest.text_encoder is not None:
        needed.append(manifest.text_encoder.tokenizer)
    for name in needed:
        if name not in manifest.files:
            raise corrupt_error(path, f"the manifest does not list {name}")
    _check_graphs(manifest)
    # A graph opens its weights by name, so no file may be there that the manifest does not list.
    for file in path.rglob("*"):
        name = file.relative_to(path).as_posix()
        known = name in manifest.files or name in (MANIFEST_FILE, SIGNATURE_FILE)
        if not file.is_dir() and not known and name[0] != ".":
            raise corrupt_error(path, f"{name} is not listed in the manifest")


def _check_graphs(manifest: Manifest) -> None:
    graphs = set(manifest.graphs)
    visual = "visual" in graphs or {"stem", "tower"} <= graphs
    text = {"text"} if manifest.text_encoder is not None else set()
    if not (visual and {"prototype", "match"} | text <= graphs):
        raise schema_error(
            f"The bundle's graphs are {sorted(graphs)}; visual (or stem and tower), prototype and match are needed, "
            "and text with a text encoder."
        )


def _inside(path: Path, name: str) -> Path:
    """The file `name` of the bundle. Raises `bundle-corrupt` where it leads out of the directory."""
    pure = PurePosixPath(name)
    odd = "\\" in name or ":" in name or not name.isprintable()
    if not name or pure.is_absolute() or ".." in pure.parts or odd:
        raise corrupt_error(path, f"the path {name!r} leaves the bundle")
    file = path.joinpath(*pure.parts)
    if not file.resolve().is_relative_to(path.resolve()):
        raise corrupt_error(path, f"{name} is a link that leaves the bundle")
    return file
