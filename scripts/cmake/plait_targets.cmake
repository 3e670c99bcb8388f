# The library: INTERFACE targets with header file sets. Nothing but cxx_std_20 and libraries reaches a consumer.
find_package(Threads REQUIRED)

file(GLOB_RECURSE plait_headers CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/include/plait/*.hpp")
set(plait_io_headers ${plait_headers})
list(FILTER plait_io_headers INCLUDE REGEX "/include/plait/io(/|\\.hpp$)")
set(plait_core_headers ${plait_headers})
if(plait_io_headers)
  list(REMOVE_ITEM plait_core_headers ${plait_io_headers})
endif()

# plait_component(target name-after-plait:: base-folder headers...)
function(plait_component target export_name base)
  add_library(${target} INTERFACE)
  add_library(plait::${export_name} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${export_name})
  if(ARGN)
    target_sources(${target} INTERFACE FILE_SET HEADERS BASE_DIRS "${base}" FILES ${ARGN})
  endif()
endfunction()

plait_component(plait plait "${PROJECT_SOURCE_DIR}/include" ${plait_core_headers})
target_compile_features(plait INTERFACE cxx_std_20)
target_link_libraries(plait INTERFACE Threads::Threads)

include(plait_json)
include(plait_xxhash)
if(TARGET nlohmann_json::nlohmann_json AND TARGET plait_xxhash::xxhash)
  plait_component(plait_io io "${PROJECT_SOURCE_DIR}/include" ${plait_io_headers})
  target_link_libraries(plait_io INTERFACE plait nlohmann_json::nlohmann_json plait_xxhash::xxhash)
endif()

# CUDA. CMake 3.25 does not know C++20 for nvcc 13: our own CUDA targets pass the flag themselves (plait_own.cmake).
if(PLAIT_CUDA)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80-virtual 90a-real) # Hopper; others from 8.0 on translate the first when they load it
  endif()
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    enable_language(CUDA)
    find_package(CUDAToolkit QUIET)
  endif()
endif()
if(TARGET CUDA::cudart)
  file(GLOB_RECURSE plait_kernel_headers CONFIGURE_DEPENDS
    "${PROJECT_SOURCE_DIR}/kernels/plait/*.cuh" "${PROJECT_SOURCE_DIR}/kernels/plait/*.hpp")
  list(FILTER plait_kernel_headers EXCLUDE REGEX "/kernels/cuda(/|_)") # the backend is a library of our own build, plait::cuda
  if(plait_kernel_headers)
    plait_component(plait_kernels kernels "${PROJECT_SOURCE_DIR}/kernels" ${plait_kernel_headers})
    target_link_libraries(plait_kernels INTERFACE plait CUDA::cudart)
  endif()
endif()
