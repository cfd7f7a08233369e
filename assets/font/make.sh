#!/bin/sh
# Makes the subsets: `sh make.sh FOLDER-OF-DEJAVU`, with fontTools for Python.
set -eu
letters=U+0020-007E,U+00A0-017F,U+0370-03FF,U+0400-045F,U+2010-2026,U+2030,U+2032,U+2190-2193,U+2212,U+221E,U+2248,U+2264,U+2265,U+2713,U+2717,U+FFFD
for face in DejaVuSans DejaVuSans-Bold; do
    python3 -m fontTools.subset "$1/$face.ttf" --unicodes="$letters" --no-hinting --desubroutinize \
        --layout-features=kern --output-file="$face-subset.ttf"
done
