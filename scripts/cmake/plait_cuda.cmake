# The CUDA backend as a static library, plait::cuda: the grouped GEMM's instances and the function table. Only where nvcc is found.

# Our flags for CUDA sources; CMake 3.25 does not know C++20 for nvcc 13, and with extensions off it would add a -std=c++17 after ours.
function(plait_cuda_options target)
  target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:${plait_warnings}>"
    "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-Xcompiler=-Wall,-Wextra>")
  if("cuda_std_20" IN_LIST CMAKE_CUDA_COMPILE_FEATURES)
    set_target_properties(${target} PROPERTIES CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON)
  else()
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-std=c++20>)
    set_target_properties(${target} PROPERTIES CUDA_EXTENSIONS ON)
  endif()
endfunction()

if(CMAKE_CUDA_COMPILER AND TARGET CUDA::cudart AND TARGET CUDA::cublasLt)
  file(GLOB_RECURSE plait_cuda_sources CONFIGURE_DEPENDS
    "${PROJECT_SOURCE_DIR}/kernels/*.cu" "${PROJECT_SOURCE_DIR}/kernels/*.cpp")
  file(GLOB plait_hopper_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/kernels/instances/*.cu" "${PROJECT_SOURCE_DIR}/kernels/cuda/*_wgmma.cu")
  list(FILTER plait_hopper_sources EXCLUDE REGEX "/portable\\.cu$")
  list(REMOVE_ITEM plait_cuda_sources ${plait_hopper_sources})
  add_library(plait_cuda STATIC ${plait_cuda_sources})
  add_library(plait::cuda ALIAS plait_cuda)
  target_include_directories(plait_cuda PUBLIC "${PROJECT_SOURCE_DIR}/kernels")
  target_link_libraries(plait_cuda PUBLIC plait::plait PRIVATE CUDA::cudart ${CMAKE_DL_LIBS})
  # cuBLASLt is loaded when it is first needed; its header is enough to build.
  target_compile_definitions(plait_cuda PRIVATE "PLAIT_CUDA_LIBRARY_DIR=\"${CUDAToolkit_LIBRARY_DIR}\"")
  # NCCL likewise: Debian's and CUDA's folders, and the one that pip puts nvidia-nccl into.
  find_package(Python3 QUIET COMPONENTS Interpreter)
  set(plait_nccl_pip "${Python3_SITELIB}/nvidia/nccl")
  find_path(PLAIT_NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS} "${plait_nccl_pip}/include")
  find_file(PLAIT_NCCL_LIBRARY NAMES libnccl.so.2 libnccl.so HINTS ${CUDAToolkit_LIBRARY_DIR} "${plait_nccl_pip}/lib" PATHS /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE} /usr/lib64)
  mark_as_advanced(PLAIT_NCCL_INCLUDE_DIR PLAIT_NCCL_LIBRARY)
  if(PLAIT_NCCL_INCLUDE_DIR)
    target_include_directories(plait_cuda SYSTEM PRIVATE "${PLAIT_NCCL_INCLUDE_DIR}")
    if(PLAIT_NCCL_LIBRARY)
      cmake_path(GET PLAIT_NCCL_LIBRARY PARENT_PATH plait_nccl_library_dir)
      target_compile_definitions(plait_cuda PRIVATE "PLAIT_NCCL_LIBRARY_DIR=\"${plait_nccl_library_dir}\"")
    endif()
  endif()
  plait_cuda_options(plait_cuda)

  # What uses Hopper's own instructions is built for it alone, whatever the rest is built for.
  add_library(plait_hopper OBJECT ${plait_hopper_sources})
  target_include_directories(plait_hopper PRIVATE "${PROJECT_SOURCE_DIR}/kernels")
  target_link_libraries(plait_hopper PRIVATE plait::plait CUDA::cudart)
  set_target_properties(plait_hopper PROPERTIES CUDA_ARCHITECTURES 90a-real)
  plait_cuda_options(plait_hopper)
  target_sources(plait_cuda PRIVATE $<TARGET_OBJECTS:plait_hopper>)

  # Hot kernels: spills and local memory are errors, serialised wgmma too (ptxas only mentions it, so the output is read).
  set_target_properties(plait_cuda plait_hopper PROPERTIES RULE_LAUNCH_COMPILE "sh ${PROJECT_SOURCE_DIR}/scripts/cmake/nvcc_guard.sh")
  target_compile_options(plait_hopper PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:-Xptxas=-Werror,-warn-spills,-warn-lmem-usage>")
  set_source_files_properties("${PROJECT_SOURCE_DIR}/kernels/instances/portable.cu" "${PROJECT_SOURCE_DIR}/kernels/cuda/attention_few.cu"
    "${PROJECT_SOURCE_DIR}/kernels/cuda/attention_mma.cu"
    PROPERTIES COMPILE_OPTIONS "-Xptxas=-Werror,-warn-spills,-warn-lmem-usage")
endif()
