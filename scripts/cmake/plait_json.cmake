# Defines nlohmann_json::nlohmann_json from its CMake package or, failing that, from the header alone.
# Used by the build and, installed beside plaitConfig.cmake, by find_package(plait COMPONENTS io).
if(NOT TARGET nlohmann_json::nlohmann_json)
  find_package(nlohmann_json 3.9 CONFIG QUIET)
endif()
if(NOT TARGET nlohmann_json::nlohmann_json)
  find_path(PLAIT_JSON_INCLUDE_DIR nlohmann/json.hpp)
  mark_as_advanced(PLAIT_JSON_INCLUDE_DIR)
  if(PLAIT_JSON_INCLUDE_DIR)
    add_library(nlohmann_json::nlohmann_json INTERFACE IMPORTED)
    target_include_directories(nlohmann_json::nlohmann_json INTERFACE "${PLAIT_JSON_INCLUDE_DIR}")
  endif()
endif()
