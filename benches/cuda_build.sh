#!/usr/bin/env bash
# Builds `runner --features cuda` on a machine without a GPU or a CUDA toolkit: compiles dfdx's kernels with
# NVIDIA's nvcc from PyPI and links against its libraries. The result needs a GPU machine to start.
#
#   benches/cuda_build.sh            # debug: it builds, and without a GPU it says so
#   benches/cuda_build.sh release    # target/device/{runner,device}, optimized and stripped, for benches/device.sh
#
# TOOLKIT says where the toolkit is put together (target/cuda-toolkit). On a GPU machine with the CUDA toolkit
# none of this is needed: `cargo build --release --features cuda`. Exits with 75 where the wheels cannot be had.
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-debug}
case $what in debug | release) ;; *) echo "usage: $0 [debug|release]" >&2; exit 2 ;; esac
root=${TOOLKIT:-target/cuda-toolkit}
root=$(mkdir -p "$root" && cd "$root" && pwd)

# 13.0 throughout: the PTX of a newer nvcc needs a newer driver, and older wheels lack nvcc itself.
unavailable() {
  echo "the toolkit's wheels cannot be had here" >&2
  exit 75 # EX_TEMPFAIL, for callers that go on without
}
[ -x "$root/venv/bin/pip" ] || python3 -m venv "$root/venv" || unavailable
"$root/venv/bin/pip" install --quiet --disable-pip-version-check \
  'nvidia-cuda-nvcc==13.0.*' 'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-crt==13.0.*' \
  'nvidia-nvvm==13.0.*' 'nvidia-cublas==13.0.*' 'nvidia-cuda-nvrtc==13.0.*' \
  'nvidia-curand==10.4.0.*' 'nvidia-cuda-cccl==13.0.*' || unavailable
wheels=$(echo "$root"/venv/lib/python3*/site-packages/nvidia/cu13)

# The folder layout of an installed toolkit.
mkdir -p "$root/lib64" "$root/shims"
for part in include bin nvvm; do ln -sfn "$wheels/$part" "$root/$part"; done
for library in cublas cublasLt nvrtc curand; do
  found=$(ls "$wheels"/lib/lib$library.so.* | head -1)
  ln -sfn "$found" "$root/lib64/lib$library.so"
  ln -sfn "$found" "$root/lib64/$(basename "$found")"
done
ln -sfn lib64 "$root/lib"

# The driver's library comes with the driver: a stand-in with the names that are linked, each of
# which reports CUDA_ERROR_NO_DEVICE (100).
cargo fetch --locked --quiet
cudarc=$(cargo metadata --locked --format-version 1 --features cuda |
  python3 -c 'import json, sys
for package in json.load(sys.stdin)["packages"]:
    # The one that dfdx links; the newer one looks for its library at run time.
    if package["name"] == "cudarc" and package["version"].startswith("0.9."):
        print(package["manifest_path"].rsplit("/", 1)[0])')
grep -rhoE 'pub fn cu[A-Z][A-Za-z0-9_]*' "$cudarc/src/driver" | awk '{ print $3 }' | sort -u |
  grep -vxE 'cuGetError(Name|String)' | sed 's/.*/int &(void) { return 100; }/' > "$root/libcuda.c"
# Enough for the built program to start and say that there is no GPU.
for name in cuGetErrorName cuGetErrorString; do
  echo "int $name(int error, const char **text) { *text = \"no device\"; return 0; }"
done >> "$root/libcuda.c"
cc -shared -fPIC -o "$root/lib64/libcuda.so.1" -Wl,-soname,libcuda.so.1 "$root/libcuda.c"
ln -sfn libcuda.so.1 "$root/lib64/libcuda.so"

# dfdx's build script asks for the GPU's compute capability.
printf '#!/bin/sh\nprintf "compute_cap\\n9.0\\n"\n' > "$root/shims/nvidia-smi"
chmod +x "$root/shims/nvidia-smi"

export PATH="$root/shims:$root/bin:$PATH" CUDA_ROOT="$root" CUDA_PATH="$root"
export LIBRARY_PATH="$root/lib64" LD_LIBRARY_PATH="$root/lib64"
target="${CARGO_TARGET_DIR:-target}/cuda"
case $what in
  debug)
    # Nothing here is run at length: optimized code would cost minutes.
    cargo build --locked --features cuda --config 'profile.dev.opt-level=0' \
      --config 'profile.dev.package."*".opt-level=0' --target-dir "$target"
    built="$target/debug/runner"
    ;;
  release)
    mkdir -p target/device/include
    # The CPU's kernels are not what is measured: no link-time optimization.
    cargo build --locked --features cuda --release --bin runner --bench device \
      --config 'profile.release.strip=true' --config 'profile.release.lto="off"' \
      --target-dir "$target" --message-format json-render-diagnostics |
      python3 -c 'import glob, json, shutil, sys
toolkit = sys.argv[1] + "/include"
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["target"]["name"] in ("runner", "device"):
        shutil.copy(message["executable"], "target/device/" + message["target"]["name"])
    # dfdx compiles some of its kernels when they first run, from headers at the paths of its build.
    if message["reason"] == "build-script-executed" and "dfdx" in message["package_id"]:
        for header in glob.glob(message["out_dir"] + "/*.cuh") + glob.glob(toolkit + "/cuda_fp16.h*"):
            shutil.copy(header, "target/device/include")
        with open("target/device/header_paths", "w") as paths:
            print(toolkit, message["out_dir"], sep="\n", file=paths)' "$root"
    built=target/device/runner
    ls -l target/device/runner target/device/device
    ;;
esac
echo "built: $built"

# It starts, and without a GPU it says so in an error of its own.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
status=0
"$built" run pipelines/dann.toml --set 'pipeline.device="dfdx-cuda:0"' --quiet \
  --store "$scratch/store" --results "$scratch/results" 2>"$scratch/said" || status=$?
cat "$scratch/said"
[ "$status" = 1 ] && grep -q '`dfdx-cuda:0` cannot be opened' "$scratch/said"
