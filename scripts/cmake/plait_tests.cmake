# Every test is found by its place:
#   tests/unit/*.cpp            one doctest program `unit`;  tests/unit/<group>/*.cpp  one doctest program `unit_<group>`
#   tests/numeric/<name>.cpp    one program each, `numeric_<name>` (its own main or doctest's)
#   tests/static/*.cpp          compiling is passing
#   tests/trainer/<name>.{sh,py}  run with MOE_TRAINER=<the program>; names that start with `_` or `lib` are helpers
#   tests/device/*.cu, bench/grouped_gemm/*.{cu,cpp}  compiled where nvcc is found; tests/device/{backend,nccl}_test.cpp: `device_{backend,nccl}`
#   tests/compile_fail, tests/house, tests/consumer  see plait_house.cmake
# A file name that starts with `slow_` gives the label `slow` (left out by scripts/test --quick and by the sanitizer presets).
find_path(PLAIT_DOCTEST_INCLUDE_DIR doctest/doctest.h)
mark_as_advanced(PLAIT_DOCTEST_INCLUDE_DIR)
if(NOT PLAIT_DOCTEST_INCLUDE_DIR)
  message(FATAL_ERROR "plait: the tests need doctest; install doctest-dev (scripts/test does it where it may) "
    "or configure with -DPLAIT_BUILD_TESTS=OFF")
endif()
find_package(Python3 COMPONENTS Interpreter)
if(NOT Python3_Interpreter_FOUND)
  message(FATAL_ERROR "plait: the tests need python3 (scripts/test installs it where it may) "
    "or configure with -DPLAIT_BUILD_TESTS=OFF")
endif()

# doctest's main, compiled once. Being in an archive it is taken only by programs without a main of their own.
file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/doctest_main.cpp"
  CONTENT "#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN\n#include <doctest/doctest.h>\n" @ONLY)
add_library(plait_doctest_main STATIC "${PROJECT_BINARY_DIR}/doctest_main.cpp")
target_include_directories(plait_doctest_main SYSTEM PUBLIC "${PLAIT_DOCTEST_INCLUDE_DIR}")
target_compile_features(plait_doctest_main PUBLIC cxx_std_20)

# The CPU backend, compiled once with the build's own optimisation; without a BLAS, so that sums have one fixed order.
add_library(plait_test_backend STATIC "${PROJECT_SOURCE_DIR}/tests/support/cpu_backend.cpp")
target_include_directories(plait_test_backend PRIVATE "${PROJECT_SOURCE_DIR}/tests")
target_link_libraries(plait_test_backend PRIVATE plait_own)
target_compile_options(plait_test_backend PRIVATE -UPLAIT_OPENBLAS)

function(plait_label test source)
  set(labels ${ARGN})
  cmake_path(GET source STEM stem)
  if(stem MATCHES "^slow_")
    list(APPEND labels slow)
  endif()
  set_tests_properties(${test} PROPERTIES LABELS "${labels}")
endfunction()

# plait_test_program(name label sources...)
function(plait_test_program name label)
  plait_executable(${name} ${ARGN})
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/tests" "${PROJECT_SOURCE_DIR}/kernels")
  target_compile_definitions(${name} PRIVATE "PLAIT_TEST_DATA=\"${PROJECT_SOURCE_DIR}/tests\"")
  target_link_libraries(${name} PRIVATE plait_doctest_main plait_test_backend)
  target_compile_options(${name} PRIVATE $<$<AND:$<CONFIG:Release>,$<COMPILE_LANGUAGE:CXX>>:-O1>) # compiled more than it is run
  if(TARGET plait::io)
    target_link_libraries(${name} PRIVATE plait::io)
  endif()
  add_test(NAME ${name} COMMAND ${name})
  list(GET ARGN 0 first)
  plait_label(${name} "${first}" ${label})
endfunction()

file(GLOB plait_unit_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/unit/*.cpp")
if(plait_unit_sources)
  plait_test_program(unit unit ${plait_unit_sources})
endif()
file(GLOB plait_unit_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/unit/*/*.cpp")
set(plait_unit_groups)
foreach(source IN LISTS plait_unit_sources)
  cmake_path(GET source PARENT_PATH folder)
  cmake_path(GET folder FILENAME group)
  list(APPEND plait_unit_groups ${group})
  list(APPEND plait_unit_${group}_sources "${source}")
endforeach()
list(REMOVE_DUPLICATES plait_unit_groups)
foreach(group IN LISTS plait_unit_groups)
  plait_test_program(unit_${group} unit ${plait_unit_${group}_sources})
endforeach()

file(GLOB plait_numeric_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/numeric/*.cpp")
foreach(source IN LISTS plait_numeric_sources)
  cmake_path(GET source STEM stem)
  plait_test_program(numeric_${stem} numeric "${source}")
endforeach()

file(GLOB plait_static_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/static/*.cpp")
if(plait_static_sources)
  add_library(static_tests OBJECT ${plait_static_sources})
  target_link_libraries(static_tests PRIVATE plait_own)
endif()

file(GLOB plait_trainer_tests CONFIGURE_DEPENDS
  "${PROJECT_SOURCE_DIR}/tests/trainer/*.sh" "${PROJECT_SOURCE_DIR}/tests/trainer/*.py")
list(FILTER plait_trainer_tests EXCLUDE REGEX "/(_|lib)[^/]*$")
if(TARGET moe_trainer)
  foreach(script IN LISTS plait_trainer_tests)
    cmake_path(GET script STEM stem)
    if(script MATCHES "\\.py$")
      add_test(NAME trainer_${stem} COMMAND Python3::Interpreter "${script}")
    else()
      add_test(NAME trainer_${stem} COMMAND bash "${script}")
    endif()
    set_tests_properties(trainer_${stem} PROPERTIES ENVIRONMENT
      "MOE_TRAINER=$<TARGET_FILE:moe_trainer>;PLAIT_REPO=${PROJECT_SOURCE_DIR};PYTHONDONTWRITEBYTECODE=1")
    plait_label(trainer_${stem} "${script}" trainer)
  endforeach()
endif()

# Device code is compiled here; on a machine without the device its tests say so and are skipped.
if(TARGET plait_cuda)
  plait_executable(device_backend "${PROJECT_SOURCE_DIR}/tests/device/backend_test.cpp")
  target_include_directories(device_backend PRIVATE "${PROJECT_SOURCE_DIR}/tests")
  target_include_directories(device_backend SYSTEM PRIVATE "${PLAIT_DOCTEST_INCLUDE_DIR}")
  target_link_libraries(device_backend PRIVATE plait::cuda plait_test_backend)
  target_compile_options(device_backend PRIVATE -O1)
  add_test(NAME device_backend COMMAND device_backend)
  add_test(NAME device_backend_portable COMMAND device_backend) # without what needs a Hopper
  set_tests_properties(device_backend device_backend_portable PROPERTIES LABELS device SKIP_RETURN_CODE 77)
  set_tests_properties(device_backend_portable PROPERTIES ENVIRONMENT "PLAIT_PORTABLE_KERNELS=1")

  plait_executable(device_nccl "${PROJECT_SOURCE_DIR}/tests/device/nccl_test.cpp")
  target_include_directories(device_nccl PRIVATE "${PROJECT_SOURCE_DIR}/tests")
  target_include_directories(device_nccl SYSTEM PRIVATE "${PLAIT_DOCTEST_INCLUDE_DIR}")
  target_link_libraries(device_nccl PRIVATE plait::cuda plait_test_backend)
  target_compile_options(device_nccl PRIVATE -O1)
  add_test(NAME device_nccl COMMAND device_nccl)
  set_tests_properties(device_nccl PROPERTIES LABELS device SKIP_RETURN_CODE 77)

  file(GLOB plait_device_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/device/*.cu")
  file(GLOB plait_device_bench CONFIGURE_DEPENDS
    "${PROJECT_SOURCE_DIR}/bench/grouped_gemm/*.cu" "${PROJECT_SOURCE_DIR}/bench/grouped_gemm/*.cpp")
  if(PLAIT_BUILD_BENCH)
    list(APPEND plait_device_sources ${plait_device_bench})
  endif()
  if(plait_device_sources)
    add_library(device OBJECT ${plait_device_sources})
    target_include_directories(device PRIVATE "${PROJECT_SOURCE_DIR}/kernels" "${PROJECT_SOURCE_DIR}/tests")
    target_link_libraries(device PRIVATE plait::plait CUDA::cudart plait_doctest_main)
    plait_cuda_options(device)
  endif()
endif()

if(PLAIT_TEST_HOUSE)
  include(plait_house)
endif()
