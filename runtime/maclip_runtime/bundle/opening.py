"""The bundle: a directory that is opened only after every file in it has been checked against its manifest."""

from __future__ import annotations

import difflib
import hashlib
import unicodedata
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath

import numpy as np

from maclip_runtime.bundle.manifest import MANIFEST_FILE, MOST_BYTES, Manifest, file_sha256
from maclip_runtime.bundle.schema import read_json
from maclip_runtime.errors import MaclipError
from maclip_runtime.reading.frames import Floats

NAMES_FILE = "names.json"
TEXT_FILE = "names.safetensors"
TEXT_TENSOR = "text"
SIGNATURE_FILE = "model.sig"  # signs the manifest, so the manifest cannot list it
NEAREST_NAMES = 5  # how many names an unknown one is compared with in the message


@dataclass(frozen=True)
class Bundle:
    """A checked bundle. `names` [n] and the rows of `text`, float32 [n, D'] of length 1, belong together."""

    path: Path
    manifest: Manifest
    names: tuple[str, ...]
    text: Floats

    @classmethod
    def open(cls, path: str | PathLike[str]) -> Bundle:
        """Read and check a bundle.

        What is checked is what lies there now: graphs are loaded from the same files later, so whoever may write in the
        folder afterwards can still change what runs. Keep it where only its owner may write.

        Raises `bundle-missing` where there is no manifest, `bundle-schema` where this version cannot read it,
        `bundle-corrupt` where a file is absent, altered, not listed, or outside the directory.
        """
        path = Path(path)
        manifest = Manifest.from_json(_read_manifest(path))
        _check_files(path, manifest)
        names, text = _read_names(path, manifest)
        return cls(path, manifest, names, text)

    def has_name(self, name: str) -> bool:
        """Whether the vocabulary has this action name; letter case and underscores do not matter."""
        return name_key(name) in map(name_key, self.names)

    def text_feature(self, name: str) -> Floats:
        """The frozen text feature of an action name, float32 [D']; letter case and underscores do not matter.

        Raises `name-unknown` with the nearest names of the vocabulary.
        """
        wanted = name_key(name)
        for row, known in enumerate(self.names):
            if name_key(known) == wanted:
                return np.asarray(self.text[row], dtype=np.float32)
        by_key = {name_key(known): known for known in self.names}
        nearest = [by_key[key] for key in difflib.get_close_matches(wanted, by_key, NEAREST_NAMES, cutoff=0.4)]
        hint = f"; nearest: {', '.join(repr(known) for known in nearest)}" if nearest else ""
        raise MaclipError(
            "name-unknown",
            f"{name!r} is not among the bundle's {len(self.names)} action names{hint}.",
            "Say --text NAME with one that is, --no-text to go without, or export with --names FILE or --text-encoder.",
        )

    def graph_file(self, graph: str) -> Path:
        """The ONNX file of one graph. Raises `bundle-schema` where the bundle has no such graph."""
        return self.path / self.manifest.graphs[graph].file

    def graph_digest(self, graph: str) -> str:
        """A digest of one graph and its weights, as hex: what is derived through it is valid for this digest."""
        file = self.manifest.graphs[graph].file
        parts = sorted(f"{name}={spec.sha256}" for name, spec in self.manifest.files.items() if name.startswith(file))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def unit_rows(rows: Floats) -> Floats:
    """Each row of [n, D'] at length 1, float32."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12), dtype=np.float32)


def name_key(name: str) -> str:
    """What makes two spellings of an action name the same: case, spaces and how Unicode writes an accent are not.

    >>> name_key(" Push_up ") == name_key("push  UP")
    True
    """
    return unicodedata.normalize("NFC", " ".join(name.replace("_", " ").split()).casefold())


def _read_manifest(path: Path) -> str:
    file = path / MANIFEST_FILE
    try:
        if file.exists() and not file.is_file():  # reading a pipe would wait for ever
            raise _corrupt(path, f"{MANIFEST_FILE} is not a file")
        with file.open("rb") as opened:
            return opened.read(MOST_BYTES + 1).decode()
    except (FileNotFoundError, NotADirectoryError):
        raise MaclipError(
            "bundle-missing",
            f"{path} is not a bundle (no {MANIFEST_FILE}).",
            "Give the folder that `maclip export` wrote.",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise _corrupt(path, f"{MANIFEST_FILE} cannot be read ({type(error).__name__})") from error


def _check_files(path: Path, manifest: Manifest) -> None:
    if len({name.casefold() for name in manifest.files}) < len(manifest.files):
        raise _corrupt(path, "names of files differ in letter case only")  # on some disks those are one file
    for name, spec in manifest.files.items():
        file = _inside(path, name)
        try:
            if not file.is_file():
                raise _corrupt(path, f"{name} is missing")
            if file.stat().st_size != spec.size or file_sha256(file) != spec.sha256:
                raise _corrupt(path, f"{name} is not the file that was exported")
        except OSError as error:
            raise _corrupt(path, f"{name} cannot be read ({error.strerror})") from error
    needed = [graph.file for graph in manifest.graphs.values()] + [NAMES_FILE, TEXT_FILE]
    if manifest.text_encoder is not None:
        needed.append(manifest.text_encoder.tokenizer)
    for name in needed:
        if name not in manifest.files:
            raise _corrupt(path, f"the manifest does not list {name}")
    _check_graphs(manifest)
    # A graph opens its weights by name: nothing may lie there that the manifest does not vouch for.
    for file in path.rglob("*"):
        name = file.relative_to(path).as_posix()
        known = name in manifest.files or name in (MANIFEST_FILE, SIGNATURE_FILE)
        if not file.is_dir() and not known and name[0] != ".":
            raise _corrupt(path, f"{name} is not listed in the manifest")


def _check_graphs(manifest: Manifest) -> None:
    graphs = set(manifest.graphs)
    visual = "visual" in graphs or {"stem", "tower"} <= graphs
    text = {"text"} if manifest.text_encoder is not None else set()
    if not (visual and {"prototype", "match"} | text <= graphs):
        raise MaclipError(
            "bundle-schema",
            f"The bundle's graphs are {sorted(graphs)}; visual (or stem and tower), prototype and match are needed, "
            "and text with a text encoder.",
            "Export the bundle again with this version of maclip.",
        )


def _inside(path: Path, name: str) -> Path:
    """The file `name` of the bundle. Raises `bundle-corrupt` where it leads out of the directory."""
    pure = PurePosixPath(name)
    odd = "\\" in name or ":" in name or not name.isprintable()
    if not name or pure.is_absolute() or ".." in pure.parts or odd:
        raise _corrupt(path, f"the path {name!r} leaves the bundle")
    file = path.joinpath(*pure.parts)
    if not file.resolve().is_relative_to(path.resolve()):
        raise _corrupt(path, f"{name} is a link that leaves the bundle")
    return file


def _read_names(path: Path, manifest: Manifest) -> tuple[tuple[str, ...], Floats]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        data = read_json((path / NAMES_FILE).read_text(encoding="utf-8"))
        names = tuple(str(name) for name in data["names"])
        stored = load_file(path / TEXT_FILE)[TEXT_TENSOR]
        text = np.asarray(stored, dtype=np.float32)
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise _corrupt(path, f"its action names cannot be read ({type(error).__name__})") from error
    if text.shape != (len(names), manifest.feature_width) or len(names) != manifest.names.count:
        raise _corrupt(path, "its action names and their text features do not belong together")
    # Half precision on disk keeps the direction to 1e-6 and the length to 1e-3.
    return names, text if stored.dtype == np.float32 else unit_rows(text)


def _corrupt(path: Path, why: str) -> MaclipError:
    return MaclipError(
        "bundle-corrupt",
        f"The bundle {path} cannot be trusted: {why}.",
        "Copy it again from where it was exported, or export it again.",
    )
