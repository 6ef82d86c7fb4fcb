"""Examples that the help of each command of `maclip` shows; tests parse them."""

from __future__ import annotations

EXAMPLES = {
    "info": ("maclip info --backbone ViT-B-16 --pretrained none",),
    "demo": ("maclip demo --out demo",),
    "synth": ("maclip synth clips --family motion --streams 20",),
    "data check": ("maclip data check data", "maclip data check annotations.json --videos videos"),
    "train": (
        "maclip train data --out run --backbone ViT-B-16 --episodes 2000",
        "maclip train --resume run",
    ),
    "eval": (
        "maclip eval run data --way 5 --shot 1 --json record.json",
        "maclip eval run --streams annotations.json",
    ),
    "compare": ("maclip compare a.json b.json",),
    "ablate": ("maclip ablate data --out runs --rows frozen,tpcm,both",),
    "backbones": ("maclip backbones",),
    "export": ("maclip export run -o bundle --int8", "maclip export --frozen --backbone ViT-B-16 -o plain"),
    "bench": ("maclip bench run bundle --json bench.json",),
    "bench-train": ("maclip bench-train --backbone ViT-B-32 --only cached",),
    "sign": ("maclip sign bundle --private-key own.key",),
    "config": ("maclip config", "maclip config train"),
    "completion": (
        'eval "$(maclip completion bash)"',
        "maclip completion fish > ~/.config/fish/completions/maclip.fish",
    ),
}
