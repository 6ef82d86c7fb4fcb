"""`maclip-run info` and `maclip-run verify`: what a bundle contains, and who signed it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from maclip_cli.console import print_json, results
from maclip_cli.device.options import BundleArgument, JsonOption
from maclip_runtime.errors import MaclipError

if TYPE_CHECKING:
    from maclip_runtime.bundle.figures import GateAccuracy, Pairs
    from maclip_runtime.bundle.manifest import Manifest
    from maclip_runtime.bundle.opening import Bundle


def info(bundle: BundleArgument, as_json: JsonOption = False) -> None:
    """Check a bundle and show what it contains: graphs and their precision, the gate's figures, its origin."""
    from maclip_runtime.bundle.opening import SIGNATURE_FILE, Bundle

    opened = Bundle.open(bundle)
    signed = (bundle / SIGNATURE_FILE).is_file()
    if as_json:
        size = sum(file.size for file in opened.manifest.files.values())
        print_json(_finite({**dataclasses.asdict(opened.manifest), "bytes": size, "signed": signed}))
        return
    out = results()
    out.print(escape(str(bundle)), soft_wrap=True)
    out.print(_pairs(_facts(opened.manifest, signed)))
    out.print(_graphs(opened))
    out.print(_gate(opened.manifest))
    if opened.manifest.pairs is not None:
        out.print(_pairs_table(opened.manifest.pairs))
    out.print(escape(_accuracy(opened.manifest)), soft_wrap=True)
    if opened.manifest.engines:
        out.print(_engines(opened.manifest))
    out.print(_pairs(_origin(opened.manifest), title="origin"))


def verify(
    bundle: BundleArgument,
    public_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The signer's public elliptic-curve key, PEM.")
    ] = None,
    chain: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="The authority's certificates, PEM, for a bundle signed with a certificate."),
    ] = None,
    signature: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The signature; default: model.sig in the bundle.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check that a bundle is exactly what the owner of a key signed with `maclip sign`."""
    from maclip_runtime.bundle.signing import verify_bundle

    if (public_key is None) == (not chain):
        raise MaclipError(
            "option-invalid", "Give either --public-key or --chain.", "Use --public-key FILE with the signer's key."
        )
    opened = verify_bundle(bundle, public_key=public_key, signature=signature, chain=chain or ())
    if as_json:
        print_json({"bundle": str(bundle), "verified": True, "contract": opened.manifest.contract})
    else:
        results().print(escape(f"Verified: {bundle} is what was signed."), soft_wrap=True)


def _facts(manifest: Manifest, signed: bool) -> dict[str, str]:
    backbone, limit, encoder = manifest.backbone, manifest.limit, manifest.text_encoder
    forms = f" ({', '.join(manifest.form_names)})" if manifest.form_names else ""
    return {
        "backbone": f"{backbone.name}, {backbone.pretrained} (sha256 {backbone.weights_sha256})",
        "trained": "yes" if manifest.trained else "no, plain CLIP",
        "adapted depth": str(manifest.adapted_depth or "none of CLIP's blocks"),
        "frames": f"{manifest.frames} of {manifest.preprocess.size} x {manifest.preprocess.size}",
        "feature width": str(manifest.feature_width),
        "metric": f"{manifest.metric}, text weight {manifest.fusion_weight:g}",
        "cohort": f"{manifest.cohort} training classes" if manifest.cohort else "none",
        "precision": f"{manifest.precision}{forms}",
        "limit": f"{limit.distance:.4g} ({limit.measured_on})" if limit else "not measured",
        "names": f"{manifest.names.count}, {' | '.join(manifest.names.templates)}",
        "names used": "yes" if manifest.names.used else "no, unless --text gives one",
        "text length": manifest.names.text_length,
        "text encoder": f"yes, {encoder.context_length} tokens" if encoder else "no",
        "contract": manifest.contract,
        "signature": "yes, see maclip-run verify" if signed else "none",
    }


def _graphs(bundle: Bundle) -> Table:
    table = Table("graph", "files", "nodes", "weights", "products in", title="graphs, as counted in the files")
    graphs = dict(bundle.manifest.graphs)
    for form, other in bundle.manifest.forms.items():  # its weights are in the files of the first form
        graphs |= {f"{name}, {form}": graph for name, graph in other.graphs.items()}
    for name, graph in graphs.items():
        size = sum(spec.size for file, spec in bundle.manifest.files.items() if file.startswith(graph.file))
        # The largest share first.
        weights = sorted(graph.census.weights.items(), key=lambda item: -item[1])
        products = sorted(graph.census.products.items(), key=lambda item: -item[1])
        table.add_row(
            escape(name),
            _size(size),
            str(graph.census.nodes),
            ", ".join(f"{dtype} {_size(count)}" for dtype, count in weights) or "none",
            ", ".join(f"{count} {dtype}" for dtype, count in products) or "none",
        )
    return table


def _gate(manifest: Manifest) -> Table:
    """The gate's figures and their limits."""
    title = "the gate: largest differences from torch in float32"
    table = Table("graph", "relative", "cosine", "probability", "cases", title=title)
    figures = dict(manifest.gate)
    for form, other in manifest.forms.items():
        figures |= {f"{name}, {form}": figure for name, figure in other.gate.items()}
    for name, figure in figures.items():
        table.add_row(
            escape(name),
            _limited(f"{figure.relative:.1e}", figure.relative_limit, "<="),
            _limited(f"{figure.cosine:.6f}", figure.cosine_limit, ">=") if figure.is_checked else "-",
            "-" if figure.probability is None else f"{figure.probability:.1e}",
            str(figure.cases),
        )
    return table


def _pairs_table(pairs: Pairs) -> Table:
    """What each int8 form took with each engine."""
    from maclip_runtime.bundle.figures import in_ms

    table = Table("engine", "form", "ms a step", "by the fastest", "", title=f"pairs, on {escape(pairs.machine)}")
    for pair in pairs.measured:
        opened = "opens this form" if pairs.best.get(pair.engine) == pair.form else ""
        engine = escape(f"{pair.engine} {pair.version}")
        table.add_row(engine, escape(pair.form), in_ms(pair.step_ms), f"{pair.ratio:.2f}", opened)
    return table


def _accuracy(manifest: Manifest) -> str:
    text = _accuracy_of(manifest.gate_accuracy)
    for form, other in manifest.forms.items():
        text += f"\n{form}: {_accuracy_of(other.gate_accuracy)}"
    return f"{text}\nBeyond a limit; exported with --allow-loss." if manifest.loss_allowed else text


def _accuracy_of(accuracy: GateAccuracy | None) -> str:
    text = "few-shot accuracy was not compared"
    if accuracy is not None:
        text = (
            f"{accuracy.way}-way {accuracy.shot}-shot accuracy: torch {accuracy.torch:.1%}, bundle "
            f"{accuracy.bundle:.1%}, loss {accuracy.loss:.2%} ± {accuracy.interval:.2%} (limit {accuracy.limit:.1%}; "
            f"{accuracy.episodes} episodes, {accuracy.measured_on}), probabilities within {accuracy.probability:.1e}"
        )
    return text


def _limited(figure: str, limit: float | None, sign: str) -> str:
    return figure if limit is None else f"{figure} ({sign} {limit:g})"


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**19 else f"{count / 2**10:.1f} KiB"


def _engines(manifest: Manifest) -> Table:
    table = Table("engine for", "library", "compute capability", "shapes", title="compiled engines")
    for engine in manifest.engines:
        library = f"{engine.library} {engine.library_version}"
        table.add_row(*map(escape, (engine.graph, library, ", ".join(engine.compute_capabilities), engine.profile)))
    return table


def _origin(manifest: Manifest) -> dict[str, str]:
    known = manifest.provenance
    return {
        "run": known.run or "none",
        "sha256 of its adapters": known.run_sha256 or "-",
        "sha256 of its clips' list": known.data_sha256 or "-",
        "maclip": f"{manifest.tool_version}, commit {known.commit or 'unknown'}",
        "libraries": ", ".join(f"{name} {version}" for name, version in known.libraries.items()),
        "created": known.created,
    }


def _pairs(facts: dict[str, str], title: str | None = None) -> Table:
    table = Table(show_header=False, title=title)
    for key, value in facts.items():
        table.add_row(key, escape(value))
    return table


def _finite(value: Any) -> Any:
    """Replace infinite and undefined figures, which an overflow under --allow-loss leaves, by None: JSON has none."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
