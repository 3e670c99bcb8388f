# What plait's own executables share and consumers never see.
include(CheckCXXCompilerFlag)

set(CMAKE_CXX_EXTENSIONS OFF)
set(plait_warnings -Wall -Wextra -Wpedantic -Wconversion -Wno-sign-conversion)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  list(APPEND plait_warnings -Wno-restrict) # false in g++ 12 for "text" + string (GCC bug 105651)
endif()
if(PLAIT_WERROR)
  list(APPEND plait_warnings -Werror)
endif()

add_library(plait_own INTERFACE)
target_link_libraries(plait_own INTERFACE plait::plait)
target_compile_options(plait_own INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${plait_warnings}>"
  $<$<COMPILE_LANGUAGE:CXX>:-fno-math-errno>) # nobody reads errno, and square roots then vectorise
if(PLAIT_NATIVE)
  check_cxx_compiler_flag(-march=native PLAIT_HAS_MARCH_NATIVE)
  if(PLAIT_HAS_MARCH_NATIVE)
    target_compile_options(plait_own INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-march=native>)
  endif()
endif()

if(PLAIT_USE_OPENBLAS)
  find_path(PLAIT_CBLAS_INCLUDE_DIR cblas.h PATH_SUFFIXES openblas openblas-pthread)
  find_library(PLAIT_OPENBLAS_LIBRARY openblas)
  mark_as_advanced(PLAIT_CBLAS_INCLUDE_DIR PLAIT_OPENBLAS_LIBRARY)
  if(PLAIT_CBLAS_INCLUDE_DIR AND PLAIT_OPENBLAS_LIBRARY)
    set(plait_openblas ON)
    target_compile_definitions(plait_own INTERFACE PLAIT_OPENBLAS=1)
    target_include_directories(plait_own SYSTEM INTERFACE "${PLAIT_CBLAS_INCLUDE_DIR}")
    target_link_libraries(plait_own INTERFACE "${PLAIT_OPENBLAS_LIBRARY}")
  endif()
endif()

# plait_executable(name sources...)
function(plait_executable name)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE plait_own)
endfunction()

# plait_require(TARGET target PACKAGE "Debian package" FOR "what needs it" OPTION option): stops with a sentence.
function(plait_require)
  cmake_parse_arguments(need "" "TARGET;PACKAGE;FOR;OPTION" "" ${ARGN})
  if(NOT TARGET ${need_TARGET})
    message(FATAL_ERROR "plait: ${need_FOR} needs ${need_TARGET}; install ${need_PACKAGE} "
      "(scripts/test does it where it may) or configure with -D${need_OPTION}=OFF")
  endif()
endfunction()
