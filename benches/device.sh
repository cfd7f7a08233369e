#!/usr/bin/env bash
# dfdx's CUDA form on a real GPU, in under five minutes: the golden operations and adaptation steps, a DANN step
# against PyTorch's in turns, and the main job for one epoch per stage, twice.
#
#   benches/device.sh build    # anywhere, no GPU needed: target/device/, two stripped programs
#   benches/device.sh run      # on the machine with the GPU, in a copy of the repository with target/device/
#   benches/device.sh          # both
#
# `run` needs the driver, NVIDIA's libraries (cuBLAS, cuRAND, NVRTC: on the loader's path, or the wheels that
# PyTorch brings) and, for the comparison, a python3 with PyTorch. It writes a table and logs to OUT
# (target/device/out). dfdx compiles some kernels when they first run and looks for their headers at the paths of
# its build: where these are missing they are links to target/device/include for as long as the script runs.
# PROGRAMS names another folder with the two programs. Exit codes: 0 all passed, 1 something failed, 75 nothing could be
# run: no driver, no GPU, no libraries, or no compiler to build with.
set -uo pipefail
cd "$(dirname "$0")/.."
programs=${PROGRAMS:-target/device}
out=${OUT:-$programs/out}
most=$((64 << 20)) # bytes that travel to the machine with the GPU

build() {
  benches/cuda_build.sh release || return
  local bytes
  bytes=$(du -cb $programs/runner $programs/device | tail -1 | cut -f1)
  bytes=$((bytes + $(git ls-files -z | du -cb --files0-from=- | tail -1 | cut -f1)))
  echo "programs and repository: $((bytes >> 20)) MB"
  [ "$bytes" -le "$most" ] || { echo "more than $((most >> 20)) MB" >&2; return 1; }
}

refuse() { echo "$*" >&2; exit 75; }

# Where PyTorch's wheels put NVIDIA's libraries.
wheels() {
  python3 - <<'PYTHON' 2>/dev/null
import glob, nvidia
print(":".join(path for root in nvidia.__path__ for path in sorted(glob.glob(f"{root}/*/lib"))))
PYTHON
}

# row NAME VERDICT SECONDS NOTE
row() { printf '| %s | %s | %s | %s |\n' "$@" | tee -a "$out/table.md"; }

# timed SECONDS LOG COMMAND...: runs it under a limit, sets `status` and `took`
timed() {
  local began=$EPOCHREALTIME limit=$1 log=$2
  shift 2
  timeout "$limit" "$@" >"$log" 2>&1
  status=$?
  took=$(python3 -c "print(f'{$EPOCHREALTIME - $began:.1f}')" 2>/dev/null || echo '?')
  [ "$status" = 124 ] && echo "stopped after $limit s" >>"$log"
  return 0
}

# Puts dfdx's headers where the programs look for them; `tidy` takes away what was put there.
links=()
headers() {
  local path
  while read -r path; do
    [ -e "$path" ] && continue
    mkdir -p "$(dirname "$path")" && ln -s "$(realpath "$programs/include")" "$path" ||
      refuse "dfdx's headers cannot be put at $path"
    links+=("$path")
  done <"$programs/header_paths"
}

tidy() {
  rm -rf "$scratch"
  local link
  for link in "${links[@]}"; do
    rm "$link" && rmdir -p --ignore-fail-on-non-empty "$(dirname "$link")"
  done
}

main_job() { # NAME DEVICE
  timed 75 "$out/$1.log" "$programs/runner" run pipelines/dann.toml --set "pipeline.device=\"$2\"" \
    --set stages.source_only.epochs=1 --set stages.dann.epochs=1 --set stages.target_trained.epochs=1 \
    --store "$scratch/store-$1" --results "$scratch/$1"
  if [ "$status" = 0 ]; then
    row "main job, one epoch per stage, $1" passed "$took" "$(tail -3 "$scratch/$1/dann/latest/table.csv" | tr '\n' ' ')"
    sed -n '/^model/,$p' "$out/$1.log" >"$out/$1.txt"
  else
    row "main job, one epoch per stage, $1" "FAILED ($status)" "$took" "$(grep -m1 error: "$out/$1.log" | head -c 200)"
    failed=1
    return 1
  fi
}

# Whether two runs on the GPU gave the same files.
compare_runs() {
  local same=0 differ=0 file name
  for file in "$scratch"/gpu-first/dann/latest/*.csv; do
    name=$(basename "$file")
    [ "$name" = timings.csv ] && continue
    if cmp -s "$file" "$scratch/gpu-second/dann/latest/$name"; then
      same=$((same + 1))
    else
      differ=$((differ + 1))
    fi
  done
  # dfdx adds floats atomically: other bits are what it does, not a failure.
  row "the main job twice on the GPU" "$same files equal, $differ differ" 0 "dfdx's sums run in no fixed order"
}

run() {
  for program in runner device header_paths; do
    [ -e "$programs/$program" ] || refuse "$programs/$program is not there: \`$0 build\` makes it"
  done
  local found
  if ldd $programs/device | grep -q 'not found'; then
    found=$(wheels) && export LD_LIBRARY_PATH="$found${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  fi
  missing=$(ldd $programs/device | awk '/not found/ { print $1 }' | sort -u | tr '\n' ' ')
  case " $missing" in
    *" libcuda.so"*) refuse "no NVIDIA driver here: libcuda.so.1 is not found" ;;
    *[![:space:]]*) refuse "libraries that are not found: $missing(PyTorch's CUDA wheels bring them)" ;;
  esac
  mkdir -p "$out"
  scratch=$(mktemp -d)
  trap tidy EXIT
  headers
  failed=0

  timed 120 "$out/check.log" "$programs/device" dfdx-cuda:0 check
  [ "$status" = 2 ] && refuse "$(tail -1 "$out/check.log")"
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | tee "$out/card.txt"
  : >"$out/table.md"
  row what verdict seconds note
  row --- --- --- ---
  grep FAILED "$out/check.log"
  if [ "$status" = 0 ]; then
    row "golden operations and steps" passed "$took" "$(tail -1 "$out/check.log")"
  else
    row "golden operations and steps" FAILED "$took" "$(grep -E '^[0-9]+ passed' "$out/check.log" || tail -1 "$out/check.log")"
    failed=1
  fi

  if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    timed 150 "$out/steps.log" python3 benches/compare.py --device dfdx-cuda:0 --executable "$programs/device" \
      --threads 1 --rounds 5 --times 5 dacnn-dann dacnn-supervised
    cat "$out/steps.log"
    if [ "$status" = 0 ]; then
      row "steps against PyTorch" passed "$took" "see steps.log"
    else
      row "steps against PyTorch" "FAILED ($status)" "$took" "$(tail -1 "$out/steps.log")"
      failed=1
    fi
  else
    row "steps against PyTorch" "left out" 0 "no python3 with PyTorch that sees the GPU"
  fi

  if main_job gpu-first dfdx-cuda:0 && main_job gpu-second dfdx-cuda:0; then compare_runs; fi
  main_job cpu cpu
  return $failed
}

case ${1:-both} in
  build) build ;;
  run) run ;;
  both) build && run ;;
  *) echo "usage: $0 [build|run]" >&2; exit 2 ;;
esac
