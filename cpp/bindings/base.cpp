#include <pybind11/native_enum.h>

#include "arrays.hpp"
#include "bindings.hpp"
#include "equiprop/base/interrupt.hpp"
#include "equiprop/base/kernels.hpp"
#include "equiprop/base/parallel.hpp"
#include "equiprop/base/random.hpp"

#ifndef EQUIPROP_VERSION
#error "EQUIPROP_VERSION is defined by the build"
#endif

namespace equiprop::bindings {
namespace {

/// True once Python has a pending exception, such as KeyboardInterrupt after Ctrl-C.
bool python_signal_pending() {
  const py::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

/// The pending exception is the one to show.
void translate_interrupt(std::exception_ptr error) {
  try {
    if (error) std::rethrow_exception(error);
  } catch (const Interrupted&) {
    if (PyErr_Occurred() == nullptr) PyErr_SetNone(PyExc_KeyboardInterrupt);
  }
}

py::dict build_info() {
  py::dict info;
  info["version"] = EQUIPROP_VERSION;
  info["compiler"] = EQUIPROP_COMPILER;
  info["instruction_set"] = EQUIPROP_INSTRUCTION_SET;
  info["eigen"] = std::to_string(EIGEN_WORLD_VERSION) + "." + std::to_string(EIGEN_MAJOR_VERSION) +
                  "." + std::to_string(EIGEN_MINOR_VERSION);
  info["kernels"] = std::string(kernel_isa());
  info["simd"] = Eigen::SimdInstructionSetsInUse();
  return info;
}

}  // namespace

void bind_base(py::module_& m) {
  set_interrupt_check(&python_signal_pending);
  py::register_exception_translator(&translate_interrupt);
  py::native_enum<Status>(m, "Status", "enum.IntEnum")
      .value("CONVERGED", Status::converged)
      .value("FIXED_STEPS", Status::fixed_steps)
      .value("MAX_ITERATIONS", Status::max_iterations)
      .value("INDEFINITE", Status::indefinite)
      .value("DIVERGED", Status::diverged)
      .finalize();
  m.def("set_num_threads", &set_num_threads);
  m.def("num_threads", &num_threads);
  m.attr("version") = EQUIPROP_VERSION;
  m.def("build_info", &build_info);
  m.def("permutation", [](std::int64_t n, std::uint64_t seed, std::uint64_t stream) {
    require(n >= 0, "permutation", "The length is at least 0.", n);
    const auto order = Random(seed, stream).permutation(n);
    return py::array_t<std::int64_t>(n, order.data());
  });
  m.def("uniform", [](std::int64_t n, std::uint64_t seed, std::uint64_t stream) {
    require(n >= 0, "uniform", "The length is at least 0.", n);
    Random random(seed, stream);
    Eigen::ArrayXd values(n);
    for (auto& value : values) value = random.uniform();
    return as_vector(values);
  });
}

}  // namespace equiprop::bindings
