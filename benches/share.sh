#!/usr/bin/env bash
# Eight trainings of some seconds each on one store: by one process with one stage at a time and with two (`--jobs`), and by two
# and four processes that share the work, each with one thread. Alternates the four, in fresh stores, and prints the seconds and
# how many stages each process began.
#
#   benches/share.sh [ROUNDS]   # 3 rounds by default; needs a release build, or RUNNER=PROGRAM
set -euo pipefail
shopt -s inherit_errexit
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

# sweep STORE NAME JOBS
sweep() {
  "$runner" sweep share.toml --threads "$3" --jobs "$3" --json --store "$1" --results "$1-$2" >"$1-$2.events" 2>"$1-$2.log"
}

begun() { grep -c '"event":"task_started"' "$1" || true; }

# shared STORE JOBS NAME... : the seconds until all processes with these names have ended
shared() {
  local store=$1 jobs=$2 began=$EPOCHREALTIME name
  shift 2
  local -a processes=()
  for name in "$@"; do sweep "$store" "$name" "$jobs" & processes+=($!); done
  for name in "${processes[@]}"; do wait "$name"; done
  awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'
}

for round in $(seq "$rounds"); do
  one=$(shared "one$round" 1 a)
  jobs=$(shared "jobs$round" 2 a)
  two=$(shared "two$round" 1 a b)
  four=$(shared "four$round" 1 a b c d)
  for results in "jobs$round-a" "two$round-"{a,b} "four$round-"{a,b,c,d}; do
    cmp "one$round-a/share/latest/trials.csv" "$results/share/latest/trials.csv"
    diff -r -x timings.csv "one$round-a/share/latest/trials" "$results/share/latest/trials"
  done
  echo "round $round: one process $one s; with --jobs 2 $jobs s; two processes $two s, which began" \
    "$(begun "two$round-a.events") and $(begun "two$round-b.events") stages; four $four s, which began" \
    "$(for name in a b c d; do begun "four$round-$name.events"; done | xargs); equal results"
done
