#!/usr/bin/env bash
# 50,000 images of 224x224x3 (7.5 GB) are made and trained on by a process whose address space has room
# for the mapped files and 600 MB of everything else. Needs Fashion-MNIST (the network or a mirror, see
# pipelines/finetune-fashion.toml) and 18 GB of disk.
#
#     cargo build --release && benches/large.sh [STORE]
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cat > "$scratch/large.toml" <<'TOML'
[pipeline]
name = "large"
[stages.fashion]
kind = "download"
dataset = "fashion-mnist"
[stages.some]
kind = "split"
input = "fashion"
per_class = 5000
[stages.few]
kind = "split"
input = "some"
from = "test"
per_class = 10
[stages.large]
kind = "normalize"
input = "few"
resize = 224
channels = 3
mean = 0.5
std = 0.5
[stages.net]
kind = "pretrain"
train = "large"
model = { layers = [{ kind = "avg_pool", kernel = 32 }] }
epochs = 1
TOML
gray=$((50100 * 224 * 224)) rgb=$((50100 * 224 * 224 * 3))
ulimit -v $(((gray + rgb) / 1024 + 600000))
time target/release/runner run "$scratch/large.toml" --threads 2 \
  --store "${1:-$scratch/store}" --results "$scratch/results"
