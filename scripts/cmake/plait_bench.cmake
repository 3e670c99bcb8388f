# bench/<group>/*.cpp: one program a file, bench_<group>_<file>. The files of bench/compile_time are measured by its script,
# not built here; those of bench/grouped_gemm need CUDA and belong to the target `device` (plait_tests.cmake). bench/attention is a program
# for compare.py beside it, and needs CUDA too.
file(GLOB plait_bench_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/bench/*/*.cpp")
list(FILTER plait_bench_sources EXCLUDE REGEX "/bench/(compile_time|grouped_gemm|attention)/")
find_package(benchmark QUIET)
if(NOT TARGET benchmark::benchmark)
  set(plait_bench_sources) # scripts/test does not install Google Benchmark: benches are for those who have it
endif()
foreach(source IN LISTS plait_bench_sources)
  cmake_path(GET source STEM stem)
  cmake_path(GET source PARENT_PATH folder)
  cmake_path(GET folder FILENAME group)
  plait_executable(bench_${group}_${stem} "${source}")
  target_include_directories(bench_${group}_${stem} PRIVATE "${folder}" "${PROJECT_SOURCE_DIR}/kernels")
  target_link_libraries(bench_${group}_${stem} PRIVATE benchmark::benchmark)
  if(TARGET plait::io)
    target_link_libraries(bench_${group}_${stem} PRIVATE plait::io)
  endif()
endforeach()
if(TARGET plait_cuda)
  plait_executable(bench_attention "${PROJECT_SOURCE_DIR}/bench/attention/device_attention.cpp")
  target_link_libraries(bench_attention PRIVATE plait::cuda)
endif()
