# Install rules. Each component has an export file of its own, so that plaitConfig.cmake looks only for what is asked for.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(plait_cmake_dir "${CMAKE_INSTALL_DATADIR}/cmake/plait")
set(plait_components)
foreach(component io kernels)
  if(TARGET plait_${component})
    list(APPEND plait_components ${component})
  endif()
endforeach()

foreach(target plait ${plait_components})
  set(export plaitTargets)
  if(NOT target STREQUAL "plait")
    set(export plait_${target}_targets)
    set(target plait_${target})
  endif()
  get_target_property(has_headers ${target} INTERFACE_HEADER_SETS)
  if(has_headers)
    install(TARGETS ${target} EXPORT ${export} FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
  else()
    install(TARGETS ${target} EXPORT ${export})
  endif()
  install(EXPORT ${export} NAMESPACE plait:: DESTINATION "${plait_cmake_dir}")
endforeach()

configure_package_config_file("${PROJECT_SOURCE_DIR}/scripts/cmake/plaitConfig.cmake.in"
  "${PROJECT_BINARY_DIR}/plaitConfig.cmake" INSTALL_DESTINATION "${plait_cmake_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/plaitConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES "${PROJECT_BINARY_DIR}/plaitConfig.cmake" "${PROJECT_BINARY_DIR}/plaitConfigVersion.cmake"
  "${PROJECT_SOURCE_DIR}/scripts/cmake/plait_json.cmake" "${PROJECT_SOURCE_DIR}/scripts/cmake/plait_xxhash.cmake"
  DESTINATION "${plait_cmake_dir}")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DATADIR}/doc/plait")
