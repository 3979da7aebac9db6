#!/bin/sh
# Every command once, on real data: a minute or two. Results in runs/doors, or in the folder that is named.
#
#     sh examples/command_line.sh [FOLDER]
set -eu
out=${1:-runs/doors}
here=$(dirname "$0")

# A network trained on digits, looked at on digits it has not seen: one line for each layer, and a page.
ansatz measure "$here/plain_loop.py:model" --data "$here/plain_loop.py:data" --signs 1 --out "$out/measured"

# A grid of trainings on 20 men's exercises and waistlines; what came of some of them, a page, a figure for a paper, and
# what changed between the start and the end.
ansatz sweep "$here/small_sweep.toml" --out "$out/grid"
ansatz runs "$out/grid" --where optimizer=gd
ansatz report "$out/grid"
ansatz figure training "$out/grid" --format pdf
ansatz compare "$out/grid@0" "$out/grid@300"

# One chapter of a published law, on scikit-learn's digits, with fewer runs than it has by default; judged again from
# what was kept.
ansatz verify tansley2025nfa --only linear --data digits --out "$out/law" \
    --set depths=2,3 --set unbalanced_depths=2 --set weight_decays=0.05
ansatz report "$out/law"

# A network that fits its data and disobeys the law.
ansatz counterexample plateau
