#!/usr/bin/env bash
# Eight trainings of some seconds each on one store: by one process, and by two that share the work, each with one thread.
# Alternates the two, in fresh stores, and prints the seconds and how many stages each process began.
#
#   benches/share.sh [ROUNDS]   # 3 rounds by default; needs a release build, or RUNNER=PROGRAM
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-3}
runner=$(realpath "${RUNNER:-target/release/runner}")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

cat >share.toml <<'TOML'
[pipeline]
name = "share"
device = "cpu"

[stages.digits]
kind = "download"
dataset = "mnist-10k"

[stages.net]
kind = "pretrain"
train = "digits"
validate = "digits.test"
model = "lenet"
epochs = 8
batch_size = 64

[stages.score]
kind = "evaluate"
models = ["net"]
on = ["digits.test"]

[sweep]
axes = { "stages.net.seed" = { from = 1, to = 8, step = 1 } }
TOML

# sweep STORE NAME
sweep() {
  "$runner" sweep share.toml --threads 1 --jobs 1 --json --store "$1" --results "$1-$2" >"$1-$2.events" 2>"$1-$2.log"
}

begun() { grep -c '"event":"task_started"' "$1" || true; }

for round in $(seq "$rounds"); do
  began=$EPOCHREALTIME
  sweep "one$round" a
  one=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
  began=$EPOCHREALTIME
  sweep "two$round" a & first=$!
  sweep "two$round" b & second=$!
  wait "$first" "$second"
  two=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
  for name in a b; do
    cmp "one$round-a/share/latest/trials.csv" "two$round-$name/share/latest/trials.csv"
    diff -r -x timings.csv "one$round-a/share/latest/trials" "two$round-$name/share/latest/trials"
  done
  echo "round $round: one process $one s; two processes $two s, which began $(begun "two$round-a.events") and" \
    "$(begun "two$round-b.events") stages; equal results"
done
