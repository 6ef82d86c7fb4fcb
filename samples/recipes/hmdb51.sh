#!/usr/bin/env bash
# HMDB51, 5-way: 31 / 10 / 10 classes and 4280 / 1194 / 1292 clips for training, validation and test.
#
#   samples/recipes/hmdb51.sh DATA LISTS RUN
#
# DATA: videos/CLASS/*.avi below DATA, as the archive unpacks.
# LISTS: the public split lists of CLIP-FSAR (train*, val*, test*). `maclip data check` first checks that they match the data.
#
# Accuracy in the paper (1-shot / 5-shot): ViT-B/32 77.3 / 83.9 %, ViT-B/16 83.4 / 87.9 %.
# NOT RUN HERE: the data and CLIP's weights were not available. The accuracy and the settings are those of the paper,
# except for the number of episodes, which it does not give for this dataset: 2000 is our choice.
set -euo pipefail
data=$1 lists=$2 run=$3
backbone=${BACKBONE:-ViT-B-32}

maclip data check "$data" --lists "$lists"
for shot in 1 5; do
    maclip train "$data" --adapters blocks --lists "$lists" --out "$run/$shot-shot" --backbone "$backbone" --pretrained openai \
        --way 5 --shot "$shot" --frames 8 --metric otam --episodes 2000 --accumulate 16 --learning-rate 5e-4
    maclip eval "$run/$shot-shot" "$data" --lists "$lists" --way 5 --shot "$shot" --episodes 10000 \
        --json "$run/$shot-shot.json"
done
