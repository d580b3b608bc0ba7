find_package(Python 3.10 QUIET COMPONENTS Interpreter Development.Module)
set(PYBIND11_FINDPYTHON ON)
find_package(pybind11 3 CONFIG QUIET)

# equiprop_cuda_package(<target> <library> <folder>): the Python package equiprop_cuda, with the extension module _cuda that
# is linked with a library of the CUDA component, in <folder>/equiprop_cuda. It needs pybind11, which this file
# looks for.
function(equiprop_cuda_package target library folder)
  pybind11_add_module(${target} NO_EXTRAS "${PROJECT_SOURCE_DIR}/cpp/bindings/cuda.cpp")
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/cpp/bindings")
  target_link_libraries(${target} PRIVATE ${library} equiprop equiprop_build_flags)
  # equiprop._core has its own copy of the library: the two must not see each other's symbols.
  target_link_options(${target} PRIVATE $<$<PLATFORM_ID:Linux>:LINKER:--exclude-libs,ALL>)
  target_compile_definitions(${target} PRIVATE EQUIPROP_VERSION="${PROJECT_VERSION}")
  set_target_properties(${target} PROPERTIES OUTPUT_NAME _cuda
    LIBRARY_OUTPUT_DIRECTORY "${folder}/equiprop_cuda")
  foreach(file __init__.py _cuda.pyi py.typed)
    configure_file("${PROJECT_SOURCE_DIR}/cpp/bindings/equiprop_cuda/${file}" "${folder}/equiprop_cuda/${file}" COPYONLY)
  endforeach()
endfunction()
