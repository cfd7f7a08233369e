#!/usr/bin/env bash
# `device = "cuda:0"` on a real GPU, in under five minutes: its trial, the golden operations and steps, the sanitizer, steps
# against PyTorch's in turns, the main job twice, and trials side by side. `benches/device.sh` does the same for dfdx's kernels.
#
#   benches/gpu.sh build    # anywhere, no GPU and no toolkit needed: target/gpu/, two stripped programs
#   benches/gpu.sh run      # on the machine with the GPU, in a copy of the repository with target/gpu/
#   benches/gpu.sh          # both
#
# `run` needs a driver for CUDA 13.0; compute-sanitizer and a python3 with PyTorch are used where they are. It writes a table and
# logs to OUT (target/gpu/out). PROGRAMS names another folder with the two programs. Exit codes: 0 all passed, 1 something
# failed, 75 nothing could be run.
set -uo pipefail
cd "$(dirname "$0")/.."
programs=${PROGRAMS:-target/gpu}
out=${OUT:-$programs/out}

build() {
  mkdir -p target/gpu
  cargo build --locked --release --bin runner --bench device --config 'profile.release.strip=true' \
    --target-dir target/gpu/build --message-format json-render-diagnostics |
    python3 -c 'import json, shutil, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["target"]["name"] in ("runner", "device"):
        shutil.copy(message["executable"], "target/gpu/" + message["target"]["name"])' || return
  ls -l target/gpu/runner target/gpu/device
}

refuse() { echo "$*" >&2; exit 75; }

# row NAME VERDICT SECONDS NOTE
row() { printf '| %s | %s | %s | %s |\n' "$@" | tee -a "$out/table.md"; }

# timed SECONDS LOG COMMAND...: runs it under a limit, sets `status` and `took`
timed() {
  local began=$EPOCHREALTIME limit=$1 log=$2
  shift 2
  timeout "$limit" "$@" >"$log" 2>&1
  status=$?
  took=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
  [ "$status" = 124 ] && echo "stopped after $limit s" >>"$log"
  return 0
}

# verdict NAME NOTE: a row for what `timed` ran
verdict() {
  if [ "$status" = 0 ]; then
    row "$1" passed "$took" "$2"
  else
    row "$1" "FAILED ($status)" "$took" "$2"
    failed=1
  fi
}

main_job() { # NAME PRECISION
  timed 60 "$out/$1.log" "$programs/runner" run pipelines/dann.toml --set 'pipeline.device="cuda:0"' \
    --set "pipeline.precision=\"$2\"" --store "$scratch/store-$1" --results "$scratch/$1"
  verdict "main job, $1" "$(tail -3 "$scratch/$1/dann/latest/table.csv" 2>/dev/null | tr '\n' ' ')"
}

# Eight seeds of the main job on one GPU: a sweep in one process, a process of ours for each, and one of PyTorch's for each.
eight_trials() {
  timed 60 "$out/eight-one-process.log" "$programs/runner" sweep pipelines/dann.toml --jobs 8 --quiet \
    --set 'sweep.axes."pipeline.seed"=[0, 1, 2, 3, 4, 5, 6, 7]' --set 'pipeline.device="cuda:0"' \
    --store "$scratch/eight" --results "$scratch/eight-results"
  verdict "eight trials in one process" "$(head -1 "$out/eight-one-process.log" | head -c 150)"
  timed 90 "$out/eight-processes.log" bash -c 'for seed in 0 1 2 3 4 5 6 7; do
      "$0/runner" run pipelines/dann.toml --quiet --set "pipeline.device=\"cuda:0\"" --set "pipeline.seed=$seed" \
        --store "$1/own-$seed" --results "$1/own-results-$seed" & running="$running $!"
    done; for one in $running; do wait "$one" || exit; done' "$programs" "$scratch"
  verdict "eight trials, a process each" ""
  # The images that ours were trained on.
  local sets
  sets=$(python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null && python3 -c 'import json, sys
stages = {it["name"]: it["fingerprint"] for it in json.load(open(sys.argv[1]))["trials"][0]}
print(*(f"{sys.argv[2]}/artifacts/{stages[name][:2]}/{stages[name]}" for name in ("source", "target")))' \
    "$scratch/gpu-first/dann/latest/run.json" "$scratch/store-gpu-first") || {
    row "eight trials of PyTorch's, a process each" "left out" 0 "no python3 with PyTorch that sees the GPU, or no main job"
    return 0
  }
  timed 120 "$out/eight-torch.log" bash -c 'for seed in 0 1 2 3 4 5 6 7; do
      python3 benches/dann.py $0 --seeds $seed --threads 2 --device cuda:0 & running="$running $!"
    done; for one in $running; do wait "$one" || exit; done' "$sets"
  verdict "eight trials of PyTorch's, a process each" "$(grep -c source_only "$out/eight-torch.log") of 8 trained"
}

# Steps of both programs in turns.
steps() { # NAME [OPTION...]
  timed 120 "$out/$1.log" python3 benches/compare.py --device cuda:0 --executable "$programs/device" --threads 1 \
    --rounds 5 --times 10 --forms eager,channels-last,graph "${@:2}" dacnn-dann dacnn-supervised lenet-dann \
    resnet18-layer4-64 resnet18-all-256 resnet50-all-32
  cat "$out/$1.log"
  verdict "$1 against PyTorch" "see $1.log"
}

run() {
  for program in runner device; do
    [ -e "$programs/$program" ] || refuse "$programs/$program is not there: \`$0 build\` makes it"
  done
  mkdir -p "$out"
  "$programs/runner" devices >"$out/devices.txt" || refuse "$(cat "$out/devices.txt")"
  cat "$out/devices.txt"
  grep -q '^auto *cuda:0' "$out/devices.txt" || refuse "there is no GPU here that can be used"
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | tee "$out/card.txt"
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  failed=0
  : >"$out/table.md"
  row what verdict seconds note
  row --- --- --- ---

  timed 60 "$out/check.log" "$programs/device" cuda:0 check
  grep FAILED "$out/check.log"
  verdict "golden operations and steps" "$(tail -1 "$out/check.log")"
  for tool in memcheck racecheck; do
    if command -v compute-sanitizer >/dev/null; then
      timed 60 "$out/$tool.log" compute-sanitizer --tool "$tool" --error-exitcode 9 "$programs/runner" devices
      verdict "compute-sanitizer $tool, the trial" "$(grep -m1 'SUMMARY' "$out/$tool.log")"
    else
      row "compute-sanitizer $tool" "left out" 0 "there is none here"
    fi
  done

  if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    steps steps
    steps steps-bf16 --precision bf16
  else
    row "steps against PyTorch" "left out" 0 "no python3 with PyTorch that sees the GPU"
  fi

  main_job gpu-first tf32
  main_job gpu-second tf32
  main_job gpu-bf16 bf16
  local same=0 differ=0 file name
  for file in "$scratch"/gpu-first/dann/latest/*.csv; do
    name=$(basename "$file")
    [ "$name" = timings.csv ] && continue
    if cmp -s "$file" "$scratch/gpu-second/dann/latest/$name"; then same=$((same + 1)); else differ=$((differ + 1)); fi
  done
  status=$((differ > 0 || same == 0))
  took=0
  verdict "the main job twice gives the same bytes" "$same files equal, $differ differ"

  eight_trials

  for jobs in 1 4 8; do
    timed 60 "$out/jobs-$jobs.log" "$programs/runner" sweep pipelines/dann-sweep.toml --jobs "$jobs" --quiet \
      --set pipeline.device='"cuda:0"' --set stages.source_only.epochs=1 --set stages.adapted.epochs=1 \
      --set stages.target_trained.epochs=1 --store "$scratch/jobs-$jobs" --results "$scratch/results-$jobs"
    verdict "a sweep of one epoch a stage, --jobs $jobs" "$(tail -1 "$out/jobs-$jobs.log" | head -c 150)"
  done
  return $failed
}

case ${1:-both} in
  build) build ;;
  run) run ;;
  both) build && run ;;
  *) echo "usage: $0 [build|run]" >&2; exit 2 ;;
esac
