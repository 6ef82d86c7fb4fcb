#!/usr/bin/env bash
# Kinetics-100, 5-way: 64 / 12 / 24 classes and 6400 / 1200 / 2400 clips for training, validation and test.
#
#   samples/recipes/kinetics100.sh DATA LISTS RUN
#
# DATA: DATA/CLASS/*.mp4, or all videos in DATA.
# LISTS: the public split lists of CMN (train*, val*, test*). `maclip data check` first checks that they match the data.
#
# Accuracy in the paper (1-shot / 5-shot): ViT-B/32 93.5 / 94.3 %, ViT-B/16 95.7 / 96.0 %.
# NOT RUN HERE: the data and CLIP's weights were not available. The accuracy and the settings are those of the paper.
set -euo pipefail
data=$1 lists=$2 run=$3
backbone=${BACKBONE:-ViT-B-32}

maclip data check "$data" --lists "$lists"
for shot in 1 5; do
    maclip train "$data" --adapters blocks --lists "$lists" --out "$run/$shot-shot" --backbone "$backbone" --pretrained openai \
        --way 5 --shot "$shot" --frames 8 --metric otam --episodes 1000 --accumulate 16 --learning-rate 5e-4
    maclip eval "$run/$shot-shot" "$data" --lists "$lists" --way 5 --shot "$shot" --episodes 10000 \
        --json "$run/$shot-shot.json"
done
