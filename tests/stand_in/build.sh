#!/usr/bin/env bash
# Builds the stand-in for CUDA's driver library, with all kernels compiled for this processor.
#
#   build.sh OUT_DIR [MORE_KERNELS...]
#
# OUT_DIR/libcuda.so.1 is the library and OUT_DIR/libcuda.so a second name for it. Each loads the other, so a program
# that has loaded either by its path finds it again as "libcuda.so" and as "libcuda.so.1"; LD_LIBRARY_PATH=OUT_DIR works
# too. MORE_KERNELS are folders with further *.cu files. Objects stay in OUT_DIR/objects and are compiled again only when
# something they include has changed. The library is replaced in one step, also while programs use the old one. CXX names
# the compiler (g++), CXXFLAGS adds flags.
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kernels=$(cd "$here/../../src/nn/gpu/kernels" && pwd)
if [ $# -lt 1 ]; then sed -n '2,4p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//' >&2; exit 2; fi
mkdir -p "$1/objects"
out=$(cd "$1" && pwd)
shift

# No fast mathematics and no contraction: a kernel's arithmetic is what its source says.
compiler=(${CXX:-g++} -std=c++17 -O2 -g1 -fPIC -ffp-contract=off -fvisibility=hidden -Wall -Werror=unused-function
  -Wno-unknown-pragmas -Wno-sign-compare ${CXXFLAGS:-} -I "$here" -I "$kernels")

exec 9>"$out/objects/lock"
flock 9

# One line for each object: its name, its source, and the name of its unit if it holds kernels.
plan=$(
  echo "shim $here/shim.cpp -"
  echo "driver $here/driver.cpp -"
  number=0
  for folder in "$kernels" "$@"; do
    for source in "$folder"/*.cu; do
      [ -e "$source" ] || continue
      unit=$(basename "$source" .cu | tr -c 'A-Za-z0-9\n' _)
      [ "$number" = 0 ] || unit=more${number}_$unit
      echo "kernels_$unit $(cd "$(dirname "$source")" && pwd)/$(basename "$source") $unit"
    done
    number=$((number + 1))
  done
)

is_current() { # OBJECT
  [ -e "$1.o" ] && [ -e "$1.d" ] && [ "$(cat "$1.flags" 2>/dev/null)" = "${compiler[*]}" ] || return 1
  local file
  for file in $(sed -e 's/^[^:]*: //' -e 's/\\$//' "$1.d"); do
    [ -e "$file" ] && ! [ "$file" -nt "$1.o" ] || return 1
  done
}

compile() { # NAME SOURCE UNIT
  local object=$out/objects/$1 unit=()
  [ "$3" = - ] || unit=("-DSHIM_UNIT=\"$3\"")
  rm -f "$object.o"
  # The object gets the time at which its compilation began, so that a source that is edited meanwhile counts as newer.
  touch "$object.began"
  "${compiler[@]}" "${unit[@]}" -x c++ -MMD -MF "$object.d" -c "$2" -o "$object.new"
  if [ "$3" != - ] && objdump -t "$object.new" | grep -E '^[0-9a-f]+ [^ l].* O \.bss'; then
    echo "$2: the shared memory above belongs to a function that other files can see; make the function static" >&2
    return 1
  fi
  echo "${compiler[*]}" > "$object.flags"
  touch -r "$object.began" "$object.new"
  mv "$object.new" "$object.o"
}

stale=0
failed=0
running=()
most=$(nproc)
while read -r name source unit; do
  is_current "$out/objects/$name" && continue
  stale=1
  compile "$name" "$source" "$unit" &
  running+=($!)
  if [ ${#running[@]} -ge "$most" ]; then wait "${running[0]}" || failed=1; running=("${running[@]:1}"); fi
done <<< "$plan"
for process in "${running[@]}"; do wait "$process" || failed=1; done
[ "$failed" = 0 ] || exit 1

if [ "$stale" = 0 ] && [ -e "$out/libcuda.so" ] && [ -e "$out/libcuda.so.1" ] &&
  [ "$(cat "$out/objects/plan" 2>/dev/null)" = "$plan" ]; then
  exit 0
fi
# A link that fails is tried again next time.
rm -f "$out/objects/plan"

new=$(mktemp -d "$out.new.XXXXXX")
trap 'rm -rf "$new"' EXIT

# The static variables of each unit of kernels lie between two names, so that the shim can poison them.
{
  echo "SECTIONS {"
  while read -r name source unit; do
    [ "$unit" != - ] || continue
    echo "  shared_memory_$unit (NOLOAD) : ALIGN(64) {"
    echo "    HIDDEN(shared_memory_of_$unit = .); *$name.o(.bss .bss.*) HIDDEN(shared_memory_end_of_$unit = .);"
    echo "  }"
  done <<< "$plan"
  echo "} INSERT AFTER .bss;"
} > "$new/sections.ld"
echo "{ global: cu*; stand_in_*; local: *; };" > "$new/exports"

# `libcuda.so` is an empty library that needs `libcuda.so.1`, and the other way round. The first is linked against an
# empty library of the second's name.
link=("${compiler[@]}" -shared -fuse-ld=bfd '-Wl,-rpath,$ORIGIN' -Wl,--enable-new-dtags,-z,nodelete,--no-as-needed)
mkdir "$new/empty"
"${link[@]}" -Wl,-soname,libcuda.so.1 -o "$new/empty/libcuda.so.1"
"${link[@]}" -Wl,-soname,libcuda.so -o "$new/libcuda.so" "$new/empty/libcuda.so.1"
objects=()
while read -r name source unit; do objects+=("$out/objects/$name.o"); done <<< "$plan"
"${link[@]}" -Wl,-soname,libcuda.so.1 -Wl,-z,defs,--allow-shlib-undefined -Wl,-T,"$new/sections.ld" \
  -Wl,--version-script,"$new/exports" -o "$new/libcuda.so.1" "${objects[@]}" "$new/libcuda.so"
mv -f "$new/libcuda.so.1" "$out/libcuda.so.1"
mv -f "$new/libcuda.so" "$out/libcuda.so"
echo "$plan" > "$out/objects/plan"
