if(CMAKE_CXX_COMPILER_ID STREQUAL "MSVC")
  message(FATAL_ERROR "[equiprop] The kernels use the vector types of gcc and clang: compile with clang-cl "
                      "(-T ClangCL, or CMAKE_GENERATOR_TOOLSET=ClangCL for pip). Received cl.exe.")
endif()

# The kernels of each instruction set have their own source files; the library selects one set at run time. All other
# code is compiled for the baseline of the architecture.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" AND NOT "arm64" IN_LIST CMAKE_OSX_ARCHITECTURES
    AND NOT MSVC)
  set(kernels "${PROJECT_SOURCE_DIR}/cpp/src/base/kernels")
  target_sources(equiprop_objects PRIVATE "${kernels}/v2.cpp" "${kernels}/v3.cpp" "${kernels}/v4.cpp")
  set_source_files_properties("${kernels}/generic.cpp" PROPERTIES COMPILE_OPTIONS -march=x86-64)
  foreach(version 2 3 4)
    set_source_files_properties("${kernels}/v${version}.cpp" PROPERTIES
      COMPILE_OPTIONS -march=x86-64-v${version})
  endforeach()
  set_source_files_properties("${kernels}/v2.cpp" "${kernels}/v3.cpp" "${kernels}/v4.cpp" PROPERTIES
    SKIP_PRECOMPILE_HEADERS ON)
  set_source_files_properties("${CMAKE_CURRENT_SOURCE_DIR}/src/base/kernels.cpp" "${kernels}/v2.cpp"
    "${kernels}/v3.cpp" "${kernels}/v4.cpp" PROPERTIES COMPILE_DEFINITIONS EQUIPROP_X86_KERNELS)
endif()
set_source_files_properties("${PROJECT_SOURCE_DIR}/cpp/src/base/kernels/generic.cpp" PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
