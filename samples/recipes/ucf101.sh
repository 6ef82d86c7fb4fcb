#!/usr/bin/env bash
# UCF101, 5-way: 70 / 10 / 21 classes and 9154 / 1421 / 2745 clips for training, validation and test.
#
#   samples/recipes/ucf101.sh DATA LISTS RUN
#
# DATA: videos/CLASS/*.avi below DATA.
# LISTS: the public split lists of CLIP-FSAR (train*, val*, test*). `maclip data check` first checks that they match the data.
#
# Accuracy in the paper (1-shot / 5-shot): ViT-B/32 92.7 / 97.2 %, ViT-B/16 96.5 / 98.6 %.
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
