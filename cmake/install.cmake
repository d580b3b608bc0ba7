# The component sdk: what a C++ program needs. In a wheel it lives in the package's own folder.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
if(SKBUILD)
  set(CMAKE_INSTALL_INCLUDEDIR equiprop/include)
  set(CMAKE_INSTALL_LIBDIR equiprop/lib)
endif()

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/equiprop")
install(DIRECTORY cpp/include/equiprop DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT sdk)
# Named one by one: a project that builds the library inside its own may set other defaults.
install(TARGETS ${equiprop_libraries} EXPORT equipropTargets
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT sdk
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT sdk
  RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}" COMPONENT sdk
  INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(EXPORT equipropTargets NAMESPACE equiprop:: DESTINATION "${package_dir}" COMPONENT sdk)
configure_package_config_file(cmake/equipropConfig.cmake.in
  "${PROJECT_BINARY_DIR}/equipropConfig.cmake" INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/equipropConfigVersion.cmake"
  COMPATIBILITY SameMajorVersion)
install(FILES "${PROJECT_BINARY_DIR}/equipropConfig.cmake" cmake/eigen.cmake
  "${PROJECT_BINARY_DIR}/equipropConfigVersion.cmake" DESTINATION "${package_dir}" COMPONENT sdk)

# The file says where it lies, so that the folder can be moved.
cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX BASE_DIRECTORY
  "${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}/pkgconfig" OUTPUT_VARIABLE prefix_from_pc)
configure_file(cmake/equiprop.pc.in "${PROJECT_BINARY_DIR}/equiprop.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/equiprop.pc"
  DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig" COMPONENT sdk)
if(NOT SKBUILD)
  install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DATADIR}/licenses/equiprop" COMPONENT sdk)
endif()
