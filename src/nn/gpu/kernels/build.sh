#!/usr/bin/env bash
# Compiles the kernels in this folder. The results are committed, so building the program needs no CUDA toolkit.
#
#   build.sh            writes kernels.ptx (any GPU from compute capability 8.0), kernels.sm_90.cubin (with what 9.0 alone has) and kernels.digest
#   build.sh --check    compiles into a temporary folder and says which of the committed files differ
#   build.sh --digest   says whether the committed files belong to these sources; needs no compiler
#
# TOOLKIT names the folder of a CUDA 13.0 toolkit (one with bin/nvcc). Without it, NVIDIA's wheels from PyPI are
# installed under target/cuda-wheels; no GPU is needed. All .cu files are compiled as one, in the order of their names.
# A kernel that keeps registers or arrays in memory fails the build. PTXAS_LOG names a file for ptxas' full report.
# Exits with 75 where the wheels cannot be had.
set -euo pipefail
export LC_ALL=C
started_in=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
here=$PWD
root=$(cd ../../../.. && pwd)
task=${1:-build}
case $task in build | --check | --digest) ;; *) echo "usage: build.sh [--check | --digest]" >&2; exit 2 ;; esac

common=(-std=c++17 -O3)
outputs=(kernels.ptx kernels.sm_90.cubin)
flags="nvcc ${common[*]} -ptx -arch=compute_80; nvcc ${common[*]} -ptx -arch=compute_90a, ptxas -arch=sm_90a"

# The sum over each source's name, a line break and its content, in the order of names.
sources_digest() { for file in *.cu *.cuh; do printf '%s\n' "$file"; cat "$file"; done | sha256sum | cut -d' ' -f1; }

if [ "$task" = --digest ]; then
  fresh=0
  expect() { # WORD VALUE MESSAGE
    [ "$(sed -n "s/^$1 //p" kernels.digest 2>/dev/null)" = "$2" ] || { echo "$3" >&2; fresh=1; }
  }
  expect sources "$(sources_digest)" "the kernels' sources have changed since they were compiled"
  expect flags "$flags" "the compiler's flags have changed since the kernels were compiled"
  for file in "${outputs[@]}"; do
    expect "$file" "$(sha256sum < "$file" | cut -d' ' -f1)" "$file is not what the compiler wrote"
  done
  [ "$fresh" = 0 ] && echo "kernels.digest matches" || echo "run src/nn/gpu/kernels/build.sh" >&2
  exit "$fresh"
fi

unavailable() { echo "the CUDA toolkit's wheels cannot be had here; TOOLKIT may name a toolkit" >&2; exit 75; }
find_wheels() { ls -d "$1"/lib/python3*/site-packages/nvidia/cu13 2>/dev/null | head -1; }
if [ -n "${TOOLKIT:-}" ]; then
  case $TOOLKIT in /*) ;; *) TOOLKIT=$started_in/$TOOLKIT ;; esac
else
  # benches/cuda_build.sh installs the same compiler.
  TOOLKIT=$(find_wheels "$root/target/cuda-toolkit/venv" || true)
  if ! [ -x "$TOOLKIT/bin/nvcc" ]; then
    wheels=$root/target/cuda-wheels
    [ -x "$wheels/bin/pip" ] || python3 -m venv "$wheels" || unavailable
    "$wheels/bin/pip" install --quiet --disable-pip-version-check nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 \
      nvidia-cuda-crt==13.0.88 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85 || unavailable
    TOOLKIT=$(find_wheels "$wheels")
  fi
fi
TOOLKIT=$(cd "$TOOLKIT" && pwd)
nvcc=$TOOLKIT/bin/nvcc
if ! "$nvcc" --version | grep -q 'release 13\.0'; then
  echo "$nvcc is not of CUDA 13.0; a newer one would write PTX that needs a newer driver" >&2
  exit 1
fi

compiler=$("$nvcc" --version | grep '^Build ')
if [ "$task" = --check ] && [ "$compiler" != "$(sed -n 's/^compiler //p' kernels.digest)" ]; then
  echo "another compiler ($compiler) than the one that made the committed files: they are not compared" >&2
  exit 75
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -- *.cu *.cuh "$work"
cd "$work"
digest=$(sources_digest)
mkdir all
for file in *.cu; do echo "#include \"../$file\""; done > all/all.cu

# Names that only one file sees hold a number that nvcc computes from the path of the source. It is set to zero, so that
# the same sources give the same bytes anywhere; there is only one source, so nothing can collide.
compile() { # ARCHITECTURE OUTPUT
  "$nvcc" "${common[@]}" -ptx "-arch=$1" -I "$TOOLKIT/include" -o named.ptx all/all.cu
  sed -E 's/(_INTERNAL_|_GLOBAL__N__)[0-9a-f]{8}_/\100000000_/g' named.ptx > "$2"
}
compile compute_80 kernels.ptx
compile compute_90a sm_90.ptx
"$TOOLKIT/bin/ptxas" -arch=sm_90a -v -o kernels.sm_90.cubin sm_90.ptx 2> report || { cat report >&2; exit 1; }
[ -z "${PTXAS_LOG:-}" ] || (cd "$started_in" && cp "$work/report" "$PTXAS_LOG")
grep -v '^ptxas info\|^ *[0-9]* bytes stack frame' report >&2 || true

# ptxas names a kernel in one line and its use of local memory in the next.
awk '/Function properties for/ { kernel = $NF }
  /bytes stack frame/ && !/ 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads/ { print kernel ": " $0; bad = 1 }
  END { exit bad }' report >&2 || { echo "the kernels above keep values in local memory" >&2; exit 1; }

{
  echo "sources $digest"
  echo "flags $flags"
  echo "compiler $compiler"
  for file in "${outputs[@]}"; do echo "$file $(sha256sum < "$file" | cut -d' ' -f1)"; done
} > kernels.digest

if [ "$task" = build ]; then
  for file in "${outputs[@]}" kernels.digest; do cp "$file" "$here/.$file.new" && mv "$here/.$file.new" "$here/$file"; done
  echo "compiled $(grep -c '^\.visible \.entry' kernels.ptx) kernels"
  exit 0
fi
different=0
for file in "${outputs[@]}" kernels.digest; do
  cmp -s "$file" "$here/$file" || { echo "$file differs from what its sources compile to" >&2; different=1; }
done
[ "$different" = 0 ] && echo "the committed kernels are what their sources compile to"
exit "$different"
