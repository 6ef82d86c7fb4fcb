"""Put trained runs into the package: `python -m maclip.shipped.pack --data OUT`, or with runs trained elsewhere.

    python -m maclip.shipped.pack --data OUT full=RUN ladder=RUN --hours full=0.8

OUT is the folder of `maclip.shipped.train`. Weights are written in half precision, `config.json` without the paths of
this machine, and the model card with what `measure` finds. Runs whose settings are not those of `settings` are refused.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save

from maclip.runs import ADAPTERS_FILE, COHORT_FILE, Run, write_config
from maclip.shipped import FOLDER, PROTOTYPE_ONLY, SHIPPED
from maclip.shipped.card import write_card
from maclip.shipped.measure import measure
from maclip.shipped.settings import RECIPE, STREAMS, Recipe, RunPlan
from maclip.writing import replacing
from maclip_runtime.errors import MaclipError

MAX_BYTES = 4 << 20  # of all shipped runs together
CLIPS_DIR, STREAMS_DIR, HELD_OUT_DIR = "clips", "streams", "held-out-streams"  # in the folder of `train`
TIME_FILE = "training.json"  # beside a run's files: what `train` noted about its training


def pack(
    data: Path,
    *,
    runs: Mapping[str, Path] | None = None,
    hours: Mapping[str, float] | None = None,
    target: Path = FOLDER,
    recipe: Recipe = RECIPE,
) -> dict[str, Any]:
    """Write the shipped runs and their model card into `target`; return the card.

    data: folder of `maclip.shipped.train`, with clips and held-out streams.
    runs: run folder of each name, if not `data`/NAME.
    hours: of training of each run that `maclip.shipped.train` did not train.
    target: the folder; default: the package's.
    recipe: settings of the runs; default: `RECIPE`.
    Raises `recipe-differs`, `adapters-untrained`, `shipped-too-large` and what opening and measuring the runs raise.
    """
    opened = {name: Run.open((runs or {}).get(name, data / name)) for name in SHIPPED}
    for plan in recipe.runs:
        if plan.name in opened:
            require_recipe(opened[plan.name], plan)
    for name, run in opened.items():
        if name != PROTOTYPE_ONLY:
            run.require_trained_adapters()
    times = {name: _hours(run, (hours or {}).get(name)) for name, run in opened.items()}
    names = {run.adapters_sha256: name for name, run in opened.items()}
    packed = {name: _write(run, target / name, names) for name, run in opened.items()}
    size = sum(file.stat().st_size for run in packed.values() for file in run.path.iterdir())
    if size > MAX_BYTES:
        raise MaclipError(
            "shipped-too-large",
            f"The runs take {size / 2**20:.1f} MiB; the package has room for {MAX_BYTES / 2**20:.0f} MiB.",
            "Adapt fewer blocks.",
        )
    figures = measure(packed, data / CLIPS_DIR, data / HELD_OUT_DIR / "annotations.json", recipe)
    return write_card(target, packed, figures, recipe, times)


def require_recipe(run: Run, plan: RunPlan) -> None:
    """Raise `recipe-differs` unless `run` was trained with the settings of `plan`."""
    train = run.config.train
    if train.streams.streams not in ("none", "stitch"):  # the path of the file is that of the machine
        train = train.changed(streams=STREAMS)
    own = {**run.config.model.values(), **train.values()}
    wanted = {**plan.model.values(), **plan.train.values()}
    free = {"cache"}  # changes no weight
    different = sorted(name for name, value in wanted.items() if name not in free and own[name] != value)
    if (run.config.init is None) != (plan.init is None):
        different.append("init")
    if different:
        name = different[0]
        raise MaclipError(
            "recipe-differs",
            f"{run.path} was trained with {name} {own.get(name)!r}; {plan.name} has {wanted.get(name)!r}.",
            "Write the settings that it was trained with into maclip/shipped/settings.py.",
        )


def _write(run: Run, folder: Path, names: Mapping[str, str]) -> Run:
    """Write `run` into `folder` in half precision, without paths; `names`: of runs by the digest of their weights."""
    config = replace(run.config, data=CLIPS_DIR)
    if config.train.streams.streams not in ("none", "stitch"):
        config = replace(config, train=config.train.changed(streams=STREAMS, stream_videos=None))
    if config.init is not None:
        begun_with = names.get(config.init.adapters_sha256, Path(config.init.run).name)
        config = replace(config, init=replace(config.init, run=begun_with))
    paths = [text for text in _texts(asdict(config)) if Path(text).is_absolute()]
    if paths:
        raise MaclipError("path-private", f"{run.path} names the path {paths[0]}.", "Train it with --backbone tiny.")
    files = (ADAPTERS_FILE, COHORT_FILE) if config.chosen and config.chosen.cohort else (ADAPTERS_FILE,)
    states = {name: load_file(run.path / name) for name in files}
    if folder.exists():
        shutil.rmtree(folder)
    for name, state in states.items():
        with replacing(folder / name) as path:
            path.write_bytes(save({key: value.half().contiguous() for key, value in state.items()}))
    write_config(folder, config)
    return Run.open(folder)


def _texts(value: object) -> Iterator[str]:
    """All strings in nested dictionaries, lists and tuples."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)


def _hours(run: Run, given: float | None) -> float:
    """Hours that the training took. Raises `hours-unknown`."""
    noted = run.path / TIME_FILE
    if given is None and noted.is_file():
        return float(json.loads(noted.read_text(encoding="utf-8"))["seconds"]) / 3600
    if given is None:
        raise MaclipError(
            "hours-unknown", f"Nothing says how long {run.path} was trained.", "Give it: --hours NAME=HOURS."
        )
    return given


def main(arguments: list[str]) -> None:
    """Pack the runs and print the card."""
    parser = argparse.ArgumentParser(
        prog="python -m maclip.shipped.pack", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="OUT")
    parser.add_argument("--out", type=Path, default=FOLDER, help="default: the package")
    parser.add_argument("--hours", action="append", default=[], metavar="NAME=HOURS")
    parser.add_argument("runs", nargs="*", metavar="NAME=RUN", help=f"{', '.join(SHIPPED)}; default: OUT/NAME")
    options = parser.parse_args(arguments)
    runs = {name: Path(path) for name, path in _pairs(options.runs)}
    hours = {name: float(value) for name, value in _pairs(options.hours)}
    card = pack(options.data, runs=runs, hours=hours, target=options.out)
    print(json.dumps(card["runs"][card["exported"]], indent=2))
    print(card["why"])


def _pairs(given: list[str]) -> Iterator[tuple[str, str]]:
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or name not in SHIPPED:
            raise MaclipError("option-invalid", f"{one!r} is not NAME=VALUE.", f"NAME is one of {', '.join(SHIPPED)}.")
        yield name, value


if __name__ == "__main__":
    main(sys.argv[1:])
