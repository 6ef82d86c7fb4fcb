"""The real parser and builder of TensorRT for RTX have the last word on every graph, and on what it computes in.

No GPU takes part: parsing and building need none. The types are those of the parsed network; it is strongly typed,
so the engine keeps them.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from random_models import NAMES, two_blocks

from maclip.metrics import METRICS
from maclip.model.maclip import MaClip
from maclip_export import export
from maclip_export.bundle.text_encoder import text_graph
from maclip_export.bundle.writer import Material, write_bundle
from maclip_export.gate.trial import drawn_trial
from maclip_export.graphs import Graph, example_inputs, graphs_of
from maclip_export.onnx.census import census
from maclip_export.onnx.precision import to_half, to_static_int8
from maclip_export.onnx.writer import write_onnx
from maclip_export.options import ExportOptions
from maclip_runtime import Bundle, MaclipError
from maclip_runtime.bundle.manifest import Census, GraphSpec
from maclip_runtime.engines.tensorrt.builder import Parsed, build_config, build_engine, parse_graph
from maclip_runtime.engines.tensorrt.cache import EngineCache
from maclip_runtime.engines.tensorrt.engines import PORTABLE, build_all
from maclip_runtime.engines.tensorrt.library import find_library
from maclip_runtime.engines.tensorrt.profile import MaxSizes, profile_of

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed (x86-64 only)")

PRECISIONS = ("float32", "fp16", "int8")
QUANTIZED = ("visual", "stem", "tower")
LADDER = ("ladder's stem", "ladder's tower")
TYPES = {"FLOAT": "float32", "HALF": "float16", "INT8": "int8"}
# What would overflow or round in half precision, and must not be given half either.
KEPT = ("NORMALIZATION", "SOFTMAX", "REDUCE")


def in_precision(graph: Graph, source: Path, precision: str, folder: Path) -> Path:
    """A copy of one exported graph, made what `maclip export` makes of it."""
    folder.mkdir(exist_ok=True)
    path = folder / source.name
    for file in (source, source.with_suffix(".onnx.data")):
        shutil.copy(file, folder)
    if precision == "fp16":
        to_half(path, matching=graph.name == "match")
    elif precision == "int8" and graph.name in QUANTIZED:
        feeds = zip((spec.name for spec in graph.inputs), example_inputs(graph), strict=True)
        to_static_int8(source, path, [{name: tensor.numpy() for name, tensor in feeds}])
    return path


def check(graph: Graph, path: Path, precision: str) -> memoryview:
    """Parse and build one graph for its free axes; assert what its layers compute in."""
    library, spec = find_library("rtx"), GraphSpec(path.name, graph.inputs, graph.outputs, Census({}, {}, 0))
    parsed = parse_graph(library, path)
    for index, tensor in enumerate(graph.inputs):
        free = [-1 if isinstance(n, str) else n for n in tensor.shape]
        assert list(parsed.network.get_input(index).shape) == free, tensor.name
    check_types(graph.name, parsed, precision, path)
    profile = profile_of(spec, 8, MaxSizes())
    assert not build_config(library, parsed, spec, profile).get_flag(library.module.BuilderFlag.TF32)
    engine = build_engine(library, path, spec, profile)
    assert engine.nbytes > sum(census(path).weights.values()) / 2
    return engine


def check_types(graph: str, parsed: Parsed, precision: str, path: Path) -> None:
    found = products(parsed)
    assert found == census(path).products
    if precision == "fp16":
        assert found["float16"] > 0
        assert set(found) == ({"float16", "float32"} if graph == "match" else {"float16"})
    elif precision == "int8" and graph in QUANTIZED:
        assert found["int8"] > found.get("float32", 0)
        assert set(found) <= {"int8", "float32"}
    else:
        assert set(found) == {"float32"}
    names = Counter(layer.type.name for layer in layers(parsed))
    assert names["NORMALIZATION"] > 0
    assert names["SOFTMAX"] > 0
    for layer in layers(parsed):
        if layer.type.name in KEPT:
            assert types_of(layer) <= {"FLOAT", "INT64", "INT32"}, layer.name
        if graph == "match" and "HALF" in types_of(layer):  # cosines, soft-min and probabilities are never half
            assert layer.type.name in ("MATRIX_MULTIPLY", "CAST", "CONSTANT", "SHUFFLE", "SHAPE"), layer.name


def products(parsed: Parsed) -> dict[str, int]:
    """Matrix products and convolutions by what they multiply; QDQ pairs on both sides are a product of integers."""
    makers = {layer.get_output(i).name: layer for layer in layers(parsed) for i in range(layer.num_outputs)}
    found: Counter[str] = Counter()
    for layer in layers(parsed):
        if layer.type.name not in ("MATRIX_MULTIPLY", "CONVOLUTION"):
            continue
        operands = [layer.get_input(i) for i in range(layer.num_inputs) if layer.get_input(i) is not None]
        sources = [source(makers, operand) for operand in operands]
        if all(made is not None and made.type.name == "DEQUANTIZE" for made in sources):
            operands = [made.get_input(0) for made in sources]
        assert len({operand.dtype for operand in operands}) == 1, layer.name
        found[TYPES[operands[0].dtype.name]] += 1
    return dict(sorted(found.items()))


def source(makers: dict[str, Any], tensor: Any) -> Any:
    """The layer that a tensor comes from, behind what only turns it."""
    made = makers.get(tensor.name)
    while made is not None and made.type.name == "SHUFFLE":
        made = makers.get(made.get_input(0).name)
    return made


def layers(parsed: Parsed) -> Iterator[Any]:
    return (parsed.network.get_layer(i) for i in range(parsed.network.num_layers))


def types_of(layer: Any) -> set[str]:
    """The types of everything that goes into a layer and comes out of it."""
    tensors = [layer.get_input(i) for i in range(layer.num_inputs)]
    tensors += [layer.get_output(i) for i in range(layer.num_outputs)]
    return {tensor.dtype.name for tensor in tensors if tensor is not None}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Graph, Path]]:
    """Every graph that a bundle can have: a CLIP of two blocks adapted in part, in full, beside; its text tower."""
    folder, beside = tmp_path_factory.mktemp("exported"), tmp_path_factory.mktemp("ladder")
    partly, fully = two_blocks(adapted_depth=1), two_blocks()
    graphs = [*graphs_of(partly), graphs_of(fully)[0], text_graph(fully)]
    found = {graph.name: (graph, write_onnx(graph, folder)[0]) for graph in graphs}
    ladder = graphs_of(two_blocks(adapters="ladder", ladder_temporal=(2,)))[:2]
    return found | {f"ladder's {graph.name}": (graph, write_onnx(graph, beside)[0]) for graph in ladder}


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        (name, precision)
        for name in (*QUANTIZED, *LADDER, "prototype", "match", "text")
        for precision in PRECISIONS
        if precision != "int8" or name in (*QUANTIZED, *LADDER)  # the others stay float32 in an int8 bundle
    ],
)
def test_every_graph_is_built_in_the_types_it_was_exported_in(
    name: str, precision: str, exported: dict[str, tuple[Graph, Path]], tmp_path: Path
) -> None:
    graph, path = exported[name]
    check(graph, in_precision(graph, path, precision, tmp_path / precision), precision)


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_is_built_in_float32_and_half(metric: str, tmp_path: Path) -> None:
    model = two_blocks(adapted_depth=0, metric=metric, cohort=metric == "otam")
    match = next(graph for graph in graphs_of(model) if graph.name == "match")
    written = write_onnx(match, tmp_path)[0]
    for precision in ("float32", "fp16"):
        check(match, in_precision(match, written, precision, tmp_path / precision), precision)


@pytest.fixture(scope="module")
def travelling(tmp_path_factory: pytest.TempPathFactory) -> tuple[MaClip, Path]:
    """Plain CLIP with portable engines, as `maclip export --frozen --rtx` writes it."""
    model = two_blocks(adapters="none", prototype="none")
    out = tmp_path_factory.mktemp("travelling") / "bundle"
    options = ExportOptions(rtx=True)
    write_bundle(model, out, Material(NAMES, drawn_trial(model, 2)), options)
    return model, out


def test_engines_travel_with_the_bundle_and_nothing_is_left_to_build(
    travelling: tuple[MaClip, Path], tmp_path: Path
) -> None:
    opened, library = Bundle.open(travelling[1], trust_engines=True), find_library("rtx")
    graphs = {"visual", "prototype", "match"}
    assert {engine.graph for engine in opened.manifest.engines} == graphs
    for engine in opened.manifest.engines:
        assert engine.file in opened.manifest.files
        assert (engine.library, engine.library_version) == ("tensorrt_rtx", library.version)
        assert "8.6" in engine.compute_capabilities
    cache = EngineCache(tmp_path)
    done = list(build_all(opened, library, PORTABLE, cache))
    assert {(one.graph, one.origin) for one in done} == {(graph, "bundled") for graph in graphs}
    assert not cache.folder.exists()


def test_dynamic_int8_is_refused_before_anything_is_exported(tmp_path: Path) -> None:
    model = two_blocks(adapters="none", prototype="none")
    options = ExportOptions(precision="int8", quantization="dynamic", rtx=True)
    with pytest.raises(MaclipError, match="--quantization both") as caught:
        export(model, tmp_path / "bundle", options)
    assert caught.value.code == "precision-unsupported"
    assert list(tmp_path.iterdir()) == []
