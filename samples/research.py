"""Train MA-CLIP on a folder of clips and evaluate it, in ten lines as in a notebook.

    python research.py DATA RUN [BACKBONE PRETRAINED]

DATA has train/, val/ and test/ with a folder of clips for each class, or is a folder written by `maclip synth`.
"""

from __future__ import annotations

import sys

import maclip


def main(
    folder: str, out: str, backbone: str = "tiny", pretrained: str = "tiny", episodes: int = 200, way: int = 5
) -> maclip.Record:
    data = maclip.open_data(folder)
    frozen = maclip.build(backbone, pretrained, adapters="none", prototype="none")
    model = maclip.build(backbone, pretrained, adapters="blocks", adapted_depth=1, fusion_weight=0.1)
    config = maclip.TrainConfig.of(prototype_episodes=5 * episodes, episodes=episodes, accumulate=1, learning_rate=3e-4)
    run = maclip.train(model, data, config, out=out)  # `model` is trained in place; maclip.load(out) loads it
    evaluation = maclip.EvaluationConfig.of(way=way, shot=1, episodes=1000)
    before, after = (maclip.evaluate(one, data, evaluation) for one in (frozen, run))
    difference = maclip.compare(before, after)
    print(f"frozen {before.result.accuracy:.1%}, trained {after.result.accuracy:.1%}")
    print(f"difference {100 * difference.difference:+.1f} ± {100 * difference.interval:.1f} points")
    return after


if __name__ == "__main__":
    main(*sys.argv[1:5])
