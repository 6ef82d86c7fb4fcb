#!/usr/bin/env bash
# Does what the demo shows hinge on its choice of classes, or on its text dropout? The demo's settings on the motion
# family with the classes dealt out to training, validation and test anew: TPCM alone with text dropout and without,
# and the full model. About 8 minutes a split on one core.
#
#   samples/other_splits.sh FOLDER SPLIT_SEED
set -euo pipefail
folder=$1 split=$2
clips=$folder/clips-$split
settings=(--backbone tiny --pretrained tiny --way 20 --accumulate 1 --fusion-weight 0.1
    --prototype-learning-rate 1e-3 --learning-rate 3e-4 --weight-decay 0.05)

maclip synth "$clips" --family motion --clips 16 --split-seed "$split"

try() {
    local name=$1 run=$folder/$1-$split
    maclip train "$clips/motion" --out "$run" "${settings[@]}" "${@:2}"
    for shot in 1 5; do
        echo "$name, split $split:"
        maclip eval "$run" "$clips/motion" --shot "$shot" --episodes 2000 --json "$run/$shot-shot.json"
    done
}

try tpcm --adapted-depth 0 --episodes 0 --prototype-episodes 2200 --text-dropout 0.7
try tpcm-names-always --adapted-depth 0 --episodes 0 --prototype-episodes 2200
try full --adapted-depth 1 --episodes 160 --prototype-episodes 1800 --text-dropout 0.7
