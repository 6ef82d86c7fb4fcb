"""Examples that the help of each command of `maclip-run` shows; tests parse them."""

from __future__ import annotations

EXAMPLES = {
    "enroll": (
        "maclip-run enroll waving wave1.mp4 wave2.mp4 --bundle bundle --gallery robot.db",
        "maclip-run enroll waving --from 0 --record 3 --takes 3 --bundle bundle --gallery robot.db",
    ),
    "negatives": ("maclip-run negatives walking.mp4 sitting.mp4 --bundle bundle --gallery robot.db",),
    "calibrate": (
        "maclip-run calibrate an-hour.mp4 --false-alarms 1 --bundle bundle --gallery robot.db",
        "maclip-run calibrate --clear --bundle bundle --gallery robot.db",
    ),
    "recognize": (
        "maclip-run recognize clip.mp4 --whole-clip --bundle bundle --gallery robot.db",
        "maclip-run recognize door=rtsp://camera/1 --json --bundle bundle --gallery robot.db",
    ),
    "index": ("maclip-run index videos --store store --bundle bundle",),
    "find": (
        "maclip-run find wave1.mp4 --store store --bundle bundle --report found.html",
        "maclip-run find --class waving --gallery robot.db --store store --bundle bundle",
    ),
    "serve": (
        "maclip-run serve --source desk=0 --bundle bundle --gallery robot.db",
        "maclip-run serve --source door=rtsp://camera/1 --host 0.0.0.0 --bundle bundle --gallery robot.db",
    ),
    "gallery doctor": ("maclip-run gallery doctor --bundle bundle --gallery robot.db --sheet findings.png",),
    "gallery list": ("maclip-run gallery list --gallery robot.db",),
    "gallery show": ("maclip-run gallery show waving --sheet clips.png --gallery robot.db",),
    "gallery remove": ("maclip-run gallery remove waving --clip 3 --gallery robot.db",),
    "gallery rename": ("maclip-run gallery rename waving 'waving with one hand' --gallery robot.db",),
    "gallery export": ("maclip-run gallery export robot.zip --gallery robot.db",),
    "gallery import": ("maclip-run gallery import robot.zip --gallery other.db",),
    "gallery key": ("maclip-run gallery key fleet.key",),
    "gallery publish": ("maclip-run gallery publish https://store.lan/doors --gallery robot.db --key fleet.key",),
    "gallery follow": (
        "maclip-run gallery follow https://store.lan/doors --gallery door7.db --trust fleet.key.pub --every 60",
    ),
    "home-assistant remove": ("maclip-run home-assistant remove mqtt://broker/kitchen",),
    "info": ("maclip-run info bundle",),
    "verify": ("maclip-run verify bundle --public-key own.pub",),
    "build": ("maclip-run build bundle", "maclip-run build bundle --device rtx"),
    "doctor": ("maclip-run doctor --bundle bundle",),
    "bench": ("maclip-run bench --bundle bundle --json bench.json",),
    "config": ("maclip-run config", "maclip-run config recognize"),
    "completion": (
        'eval "$(maclip-run completion bash)"',
        "maclip-run completion fish > ~/.config/fish/completions/maclip-run.fish",
    ),
}
