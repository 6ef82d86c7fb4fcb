#!/usr/bin/env bash
# SSv2-Full, 5-way: 64 / 12 / 24 classes and 67013 / 1926 / 2857 clips for training, validation and test.
#
#   samples/recipes/ssv2-full.sh DATA LISTS RUN NAMES
#
# DATA: DATA/NUMBER.webm, as the archive unpacks.
# LISTS: the public split lists of CLIP-FSAR (train*, val*, test*). `maclip data check` first checks that they match the data.
#
# These lists number their classes. NAMES is a JSON or YAML file with the class names in that order:
# {"train": [...], "val": [...], "test": [...]}.
#
# Accuracy in the paper (1-shot / 5-shot): ViT-B/32 61.9 / 64.5 %, ViT-B/16 63.3 / 72.3 %.
# NOT RUN HERE: the data and CLIP's weights were not available. The accuracy and the settings are those of the paper.
set -euo pipefail
data=$1 lists=$2 run=$3
backbone=${BACKBONE:-ViT-B-32}

maclip data check "$data" --lists "$lists" --class-names "$4"
for shot in 1 5; do
    maclip train "$data" --adapters blocks --lists "$lists" --class-names "$4" --out "$run/$shot-shot" --backbone "$backbone" --pretrained openai \
        --way 5 --shot "$shot" --frames 8 --metric otam --episodes 20000 --accumulate 16 --learning-rate 5e-4
    maclip eval "$run/$shot-shot" "$data" --lists "$lists" --class-names "$4" --way 5 --shot "$shot" --episodes 10000 \
        --json "$run/$shot-shot.json"
done
