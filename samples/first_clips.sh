#!/usr/bin/env bash
# From clips to events with the bundle and the drawn clips that `make demo` leaves in demo/: the commands of the README.
# Run it in the repository's folder.
#
#   samples/first_clips.sh [GALLERY]     a new gallery; default: one in a temporary folder
set -euo pipefail
export MACLIP_BUNDLE=demo/bundle MACLIP_GALLERY=${1:-$(mktemp -d)/robot.db}

for action in "a shape growing" "a shape shrinking" "moving a shape from left to right" \
    "moving a shape from right to left" "two shapes coming together" "two shapes moving apart"; do
    maclip-run enroll "$action" demo/clips/motion/"${action// /-}"/00[0-2].mp4
done
maclip-run recognize demo/clips/motion/a-shape-growing/003.mp4 --whole-clip
maclip-run gallery doctor
maclip-run calibrate demo/clips/motion/a-shape-{appearing,vanishing,splitting-in-two}/*.mp4
maclip-run recognize demo/clips/long.mp4 --no-unknown --updates none
