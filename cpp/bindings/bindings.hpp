#pragma once
/// Functions that module.cpp calls to build the module: one per source file and scalar.

#include <pybind11/pybind11.h>

#include <filesystem>
#include <string>

namespace equiprop::bindings {

namespace py = pybind11;

/// Converts a path from the bytes that os.fsencode returned, which are UTF-8 on Windows.
inline std::filesystem::path path_of(const std::string& bytes) {
  return std::u8string(bytes.begin(), bytes.end());
}

void bind_base(py::module_& m);
void bind_solvers(py::module_& m);
void bind_nudging(py::module_& m);
void bind_layers(py::module_& m);
void bind_files(py::module_& m);
void bind_dual(py::module_& dual);
void bind_complex(py::module_& complex);
void bind_verification(py::module_& m);
template <class T>
void bind_models(py::module_& m);
template <class T>
void bind_second_phase(py::module_& m);
void bind_second_phases(py::module_& m);
template <class T>
void bind_steps(py::module_& m);
/// Turns failing allocations of new objects of the types in a module and its submodules into MemoryError.
void survive_failing_allocations(const py::module_& m);

}  // namespace equiprop::bindings
