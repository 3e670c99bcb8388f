# Tests of what a library owes its users beside behaviour: diagnostics, headers, layering, packaging.
set(plait_tests_dir "${PROJECT_SOURCE_DIR}/tests")
set(plait_house_dir "${plait_tests_dir}/house")

find_program(PLAIT_GXX NAMES g++)
find_program(PLAIT_CLANGXX NAMES clang++)
find_program(PLAIT_NVCC NAMES nvcc HINTS ${CUDAToolkit_BIN_DIR})
mark_as_advanced(PLAIT_GXX PLAIT_CLANGXX PLAIT_NVCC)
set(plait_test_compilers) # as named in test names and labels
foreach(pair "g++ PLAIT_GXX" "clang++ PLAIT_CLANGXX")
  separate_arguments(pair)
  list(GET pair 0 name)
  list(GET pair 1 variable)
  if(${variable})
    list(APPEND plait_test_compilers ${name})
    set(plait_path_${name} "${${variable}}")
  endif()
endforeach()
if(PLAIT_NVCC AND PLAIT_CUDA)
  list(APPEND plait_test_compilers nvcc)
  set(plait_path_nvcc "${PLAIT_NVCC}")
endif()

set(plait_json_include)
if(TARGET nlohmann_json::nlohmann_json)
  get_target_property(plait_json_include nlohmann_json::nlohmann_json INTERFACE_INCLUDE_DIRECTORIES)
  string(GENEX_STRIP "${plait_json_include}" plait_json_include)
  list(REMOVE_ITEM plait_json_include ${CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES}) # found without being told
  list(JOIN plait_json_include "," plait_json_include)
endif()

# plait_script_test(name labels script.py arguments...)
function(plait_script_test name labels script)
  add_test(NAME ${name} COMMAND Python3::Interpreter "${plait_house_dir}/${script}" ${ARGN})
  set_tests_properties(${name} PROPERTIES LABELS "${labels}" SKIP_RETURN_CODE 77 ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
endfunction()

# Wrong programs: tests/compile_fail/<slug>_<case>.cpp, all with g++ and clang++, the first of each slug with nvcc; their control halves
# are compiled together, which reads the headers once for all.
file(GLOB plait_compile_fail_cases CONFIGURE_DEPENDS "${plait_tests_dir}/compile_fail/*.cpp")
list(SORT plait_compile_fail_cases)
foreach(name IN LISTS plait_test_compilers)
  set(seen)
  set(taken)
  foreach(case IN LISTS plait_compile_fail_cases)
    cmake_path(GET case STEM stem)
    string(REGEX REPLACE "_.*" "" slug "${stem}")
    if(name STREQUAL "nvcc")
      if(slug IN_LIST seen)
        continue()
      endif()
      list(APPEND seen ${slug})
    endif()
    list(APPEND taken "${case}")
    add_test(NAME compile_fail.${name}.${stem} COMMAND "${CMAKE_COMMAND}" "-DCASE=${case}" "-DCONTROL=OFF" "-DREPO=${PROJECT_SOURCE_DIR}"
      "-DKIND=${name}" "-DCOMPILER=${plait_path_${name}}" -P "${plait_tests_dir}/compile_fail/run_case.cmake")
    set_tests_properties(compile_fail.${name}.${stem} PROPERTIES LABELS "compile_fail;${name}")
  endforeach()
  set(as_cuda)
  if(name STREQUAL "nvcc")
    set(as_cuda --nvcc)
  endif()
  plait_script_test(compile_fail.${name}.controls "compile_fail;${name}" ../compile_fail/controls.py --repo "${PROJECT_SOURCE_DIR}"
    --compiler "${plait_path_${name}}" ${as_cuda} ${taken})
  add_test(NAME compile_fail.${name}.harness COMMAND "${CMAKE_COMMAND}" "-DREPO=${PROJECT_SOURCE_DIR}" "-DKIND=${name}"
    "-DCOMPILER=${plait_path_${name}}" -P "${plait_tests_dir}/compile_fail/harness/run.cmake")
  set_tests_properties(compile_fail.${name}.harness PROPERTIES LABELS "compile_fail;${name}")
endforeach()

# Right programs: tests/static is an object library for the configured compiler; here the other front end reads it too.
if(plait_static_sources AND PLAIT_CLANGXX)
  plait_script_test(static.clang++ "static;clang++" syntax_only.py --repo "${PROJECT_SOURCE_DIR}"
    --compiler "${PLAIT_CLANGXX}" ${plait_static_sources})
endif()

# Headers.
foreach(name IN LISTS plait_test_compilers)
  if(name STREQUAL "nvcc")
    if(EXISTS "${PROJECT_SOURCE_DIR}/include/plait/plait.hpp")
      plait_script_test(headers.nvcc "house;nvcc" headers.py --repo "${PROJECT_SOURCE_DIR}" --compiler "${PLAIT_NVCC}" --nvcc
        plait/plait.hpp)
    endif()
  else()
    plait_script_test(headers.${name} "house;${name}" headers.py --repo "${PROJECT_SOURCE_DIR}"
      --compiler "${plait_path_${name}}" "--json=${plait_json_include}")
    plait_script_test(macros.${name} "house;${name}" macros.py --repo "${PROJECT_SOURCE_DIR}"
      --compiler "${plait_path_${name}}" "--json=${plait_json_include}")
  endif()
endforeach()
plait_script_test(layering house layering.py "${PROJECT_SOURCE_DIR}")
plait_script_test(errors house errors.py "${PROJECT_SOURCE_DIR}")
plait_script_test(snippets house snippets.py "${PROJECT_SOURCE_DIR}")
plait_script_test(house_scripts house self_test.py "${CMAKE_CXX_COMPILER}")

# Two translation units that include every header link into one program.
set(plait_odr_includes)
foreach(header IN LISTS plait_headers)
  if(header IN_LIST plait_nccl_headers OR (header IN_LIST plait_io_headers AND NOT TARGET plait::io))
    continue()
  endif()
  cmake_path(RELATIVE_PATH header BASE_DIRECTORY "${PROJECT_SOURCE_DIR}/include" OUTPUT_VARIABLE relative)
  string(APPEND plait_odr_includes "#include <${relative}>\n")
endforeach()
file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/two_units_a.cpp" CONTENT
  "@plait_odr_includes@\nint other_unit();\nint main() { return other_unit() - PLAIT_VERSION_MINOR; }\n" @ONLY)
file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/two_units_b.cpp" CONTENT
  "@plait_odr_includes@\nint other_unit();\nint other_unit() { return PLAIT_VERSION_MINOR; }\n" @ONLY)
plait_executable(two_units "${PROJECT_BINARY_DIR}/two_units_a.cpp" "${PROJECT_BINARY_DIR}/two_units_b.cpp")
target_compile_options(two_units PRIVATE -O0)
if(TARGET plait::io)
  target_link_libraries(two_units PRIVATE plait::io)
endif()
add_test(NAME two_units COMMAND two_units)
set_tests_properties(two_units PROPERTIES LABELS house)

# Projects that use plait.
if(PLAIT_INSTALL AND EXISTS "${PROJECT_SOURCE_DIR}/include/plait/plait.hpp")
  foreach(way find_package add_subdirectory fetch_content)
    foreach(name IN LISTS plait_test_compilers)
      if(name STREQUAL "nvcc")
        continue()
      endif()
      add_test(NAME consumer.${name}.${way} COMMAND "${CMAKE_COMMAND}" -DWAY=${way} "-DREPO=${PROJECT_SOURCE_DIR}"
        "-DBUILD=${PROJECT_BINARY_DIR}" "-DWORK=${PROJECT_BINARY_DIR}/consumer/${name}/${way}" "-DGENERATOR=${CMAKE_GENERATOR}"
        "-DCOMPILER=${plait_path_${name}}" "-DVERSION=${PROJECT_VERSION}" "-DWITH_IO=$<TARGET_EXISTS:plait::io>"
        -P "${plait_tests_dir}/consumer/run.cmake")
      set_tests_properties(consumer.${name}.${way} PROPERTIES LABELS "consumer;${name}")
    endforeach()
  endforeach()
endif()
