"""A custom metric: copy this file, change the class, and run the file like `maclip`.

    python own_metric.py train DATA --out RUN --metric frame-by-frame
    python own_metric.py eval RUN DATA
    python own_metric.py export RUN -o BUNDLE

The metric is trained and saved with the model and exported to the bundle's match.onnx; the device needs no code for it.
A metric without parameters can be a function with the same decorator.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from maclip.metrics import metric
from maclip.metrics.cosine import frame_distances
from maclip_cli.workstation.app import main


@metric("frame-by-frame")
class FrameByFrame(nn.Module):
    """Compares frames in order, with a learned weight for each position."""

    def __init__(self, width: int, frames: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(frames))

    def forward(self, query: Tensor, support: Tensor) -> Tensor:
        """Query [Q, T, D], support [C, T, D] -> distances [Q, C]."""
        d = frame_distances(query, support).diagonal()  # (T, M, Q, C) -> (Q, C, T)
        return d @ self.weights.softmax(0) * len(self.weights)


if __name__ == "__main__":
    main()
