#!/usr/bin/env bash
# SSv2-Small, 5-way: 64 / 12 / 24 classes and 6400 / 1200 / 2400 clips for training, validation and test.
#
#   samples/recipes/ssv2-small.sh DATA LISTS RUN
#
# DATA: DATA/NUMBER.webm, as the archive unpacks, or folders of frames.
# LISTS: the public split lists of CMN (train*, val*, test*). `maclip data check` first checks that they match the data.
#
# Accuracy in the paper (1-shot / 5-shot): ViT-B/32 56.5 / 62.3 %, ViT-B/16 59.1 / 64.5 %.
# NOT RUN HERE: the data and CLIP's weights were not available. The accuracy and the settings are those of the paper.
set -euo pipefail
data=$1 lists=$2 run=$3
backbone=${BACKBONE:-ViT-B-32}

maclip data check "$data" --lists "$lists"
for shot in 1 5; do
    maclip train "$data" --adapters blocks --lists "$lists" --out "$run/$shot-shot" --backbone "$backbone" --pretrained openai \
        --way 5 --shot "$shot" --frames 8 --metric otam --episodes 20000 --accumulate 16 --learning-rate 5e-4
    maclip eval "$run/$shot-shot" "$data" --lists "$lists" --way 5 --shot "$shot" --episodes 10000 \
        --json "$run/$shot-shot.json"
done
