#!/bin/bash
# Builds the kernels, the test and the benchmark in $BUILD (default build/device). Run from the repository's root on a Hopper machine.
# Usage: run_device.sh [jobs]; then $BUILD/grouped_gemm_test, $BUILD/grouped_gemm, $BUILD/libplait_grouped_gemm.so
set -e
BUILD=${BUILD:-build/device}
FLAGS="-std=c++20 -O3 -gencode=arch=compute_90a,code=sm_90a -Ikernels -Xcompiler -fPIC $EXTRA"
mkdir -p "$BUILD"
compile() {
  # Spills and stack frames are errors, and so is serialised wgmma, which ptxas only mentions.
  local more="-Xptxas -Werror,-warn-spills,-warn-lmem-usage"
  [ -z "$UNCHECKED" ] || more=""
  case "$1" in */portable.cu) more="$more -gencode=arch=compute_80,code=[sm_80,compute_80]" ;; esac
  nvcc $FLAGS $more -Xptxas -v -c "$1" -o "$2" >"$2.log" 2>&1 || { cat "$2.log"; exit 1; }
  if grep -E "\(C75(0[89]|1[0-9])\)" "$2.log"; then echo "$1: see above"; exit 1; fi
}
export -f compile; export FLAGS
{
  for source in kernels/instances/*.c*; do echo "$source $BUILD/$(basename "$source").o"; done
  echo "tests/device/grouped_gemm_test.cu $BUILD/test.o"
  echo "bench/grouped_gemm/grouped_gemm.cpp $BUILD/bench.o"
  echo "bench/grouped_gemm/fill.cu $BUILD/fill.o"
  echo "bench/grouped_gemm/c_api.cpp $BUILD/c_api.o"
} | xargs -P "${1:-8}" -L 1 bash -c 'compile $0 $1 || exit 255'
nvcc "$BUILD"/*.cu.o "$BUILD"/*.cpp.o "$BUILD"/test.o -o "$BUILD"/grouped_gemm_test
nvcc "$BUILD"/*.cu.o "$BUILD"/*.cpp.o "$BUILD"/bench.o "$BUILD"/fill.o -lcublasLt -o "$BUILD"/grouped_gemm
nvcc -shared "$BUILD"/*.cu.o "$BUILD"/*.cpp.o "$BUILD"/c_api.o -o "$BUILD"/libplait_grouped_gemm.so
