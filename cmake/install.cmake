# Rules of cmake --install: headers, libraries, CMake package, pkg-config file and licence, in component sdk.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/equiprop")
set(pkgconfig_dir "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

install(TARGETS ${EQUIPROP_LIBRARIES} EXPORT equipropTargets
  RUNTIME COMPONENT sdk LIBRARY COMPONENT sdk NAMELINK_COMPONENT sdk ARCHIVE COMPONENT sdk
  INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/cpp/include/equiprop"
  DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT sdk)
install(EXPORT equipropTargets NAMESPACE equiprop:: DESTINATION "${package_dir}" COMPONENT sdk)

configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/equipropConfig.cmake.in"
  "${PROJECT_BINARY_DIR}/equipropConfig.cmake" INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/equipropConfigVersion.cmake"
  COMPATIBILITY SameMajorVersion)
install(FILES "${PROJECT_BINARY_DIR}/equipropConfig.cmake"
  "${PROJECT_BINARY_DIR}/equipropConfigVersion.cmake" "${PROJECT_SOURCE_DIR}/cmake/eigen.cmake"
  DESTINATION "${package_dir}" COMPONENT sdk)

# The pkg-config file uses paths relative to itself, so that an installation can be moved, unless its folders are absolute.
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}" OR IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
  set(pc_includedir "${CMAKE_INSTALL_FULL_INCLUDEDIR}")
  set(pc_libdir "${CMAKE_INSTALL_FULL_LIBDIR}")
else()
  file(RELATIVE_PATH prefix_from_pkgconfig "/${pkgconfig_dir}" "/")
  set(pc_includedir "\${pcfiledir}/${prefix_from_pkgconfig}${CMAKE_INSTALL_INCLUDEDIR}")
  set(pc_libdir "\${pcfiledir}/${prefix_from_pkgconfig}${CMAKE_INSTALL_LIBDIR}")
endif()
configure_file("${PROJECT_SOURCE_DIR}/cmake/equiprop.pc.in" "${PROJECT_BINARY_DIR}/equiprop.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/equiprop.pc" DESTINATION "${pkgconfig_dir}" COMPONENT sdk)
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT sdk)
