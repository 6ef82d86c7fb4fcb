#!/usr/bin/env bash
# Do the results of the demo depend on its split of classes, or on its text dropout? Trains with the demo's settings on
# another random split of the motion classes: TPCM alone with and without text dropout, and the full model.
# About 8 minutes per split on one core.
#
#   samples/other_splits.sh FOLDER SPLIT_SEED
set -euo pipefail
folder=$1 split=$2
clips=$folder/clips-$split
settings=(--backbone tiny --pretrained tiny --way 20 --accumulate 1 --fusion-weight 0.1
    --prototype-learning-rate 1e-3 --learning-rate 3e-4 --weight-decay 0.05)

maclip synth "$clips" --family motion --clips 16 --split-seed "$split"

train_and_evaluate() {
    local name=$1 run=$folder/$1-$split
    maclip train "$clips/motion" --out "$run" "${settings[@]}" "${@:2}"
    for shot in 1 5; do
        echo "$name, split $split:"
        maclip eval "$run" "$clips/motion" --shot "$shot" --episodes 2000 --json "$run/$shot-shot.json"
    done
}

train_and_evaluate tpcm --adapters none --episodes 0 --prototype-episodes 2200 --text-dropout 0.7
train_and_evaluate tpcm-without-text-dropout --adapters none --episodes 0 --prototype-episodes 2200
train_and_evaluate full --adapters blocks --adapted-depth 1 --episodes 160 --prototype-episodes 1800 --text-dropout 0.7
