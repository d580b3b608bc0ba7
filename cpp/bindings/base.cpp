#include <pybind11/native_enum.h>

#include <algorithm>
#include <atomic>

#include "arrays.hpp"
#include "bindings.hpp"
#include "equiprop/base/interrupt.hpp"
#include "equiprop/base/kernels.hpp"
#include "equiprop/base/parallel.hpp"
#include "equiprop/base/product.hpp"
#include "equiprop/base/random.hpp"
#include "equiprop/second_phase/batch.hpp"

#ifndef EQUIPROP_VERSION
#error "EQUIPROP_VERSION is defined by the build"
#endif

// C functions for programs that limit threads without Python, such as threadpoolctl. A count of 0 is the default. The
// getter also returns 0 if EQUIPROP_NUM_THREADS is invalid, because a C function cannot throw.
extern "C" PYBIND11_EXPORT int equiprop_get_num_threads() noexcept {
  try {
    return equiprop::num_threads();
  } catch (const equiprop::InvalidArgument&) {
    return 0;
  }
}
extern "C" PYBIND11_EXPORT void equiprop_set_num_threads(int count) noexcept {
  equiprop::set_num_threads(std::clamp(count, 0, 4096));
}

namespace equiprop::bindings {
namespace {

std::atomic<unsigned long> main_thread{0};

void remember_main_thread() {
  const py::module_ threading = py::module_::import("threading");
  main_thread = threading.attr("main_thread")().attr("ident").cast<unsigned long>();
  const py::module_ os = py::module_::import("os");
  if (py::hasattr(os, "register_at_fork"))
    os.attr("register_at_fork")(py::arg("after_in_child") = py::cpp_function(
                                    [] { main_thread = PyThread_get_thread_ident(); }));
}

/// Returns true if Python has a pending exception, such as KeyboardInterrupt after Ctrl-C. Only Python's main thread
/// handles signals. Another thread must not request the GIL: while the interpreter shuts down, Python then ends that
/// thread inside C++ code, which aborts the program.
bool python_signal_pending() {
  if (PyThread_get_thread_ident() != main_thread) return false;
  const py::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

/// Raises KeyboardInterrupt for Interrupted, unless Python already has a pending exception.
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
  info["eigen"] = std::to_string(EIGEN_WORLD_VERSION) + "." + std::to_string(EIGEN_MAJOR_VERSION) +
                  "." + std::to_string(EIGEN_MINOR_VERSION);
  info["pybind11"] = std::to_string(PYBIND11_VERSION_MAJOR) + "." +
                     std::to_string(PYBIND11_VERSION_MINOR) + "." +
                     std::to_string(PYBIND11_VERSION_MICRO);
  info["kernels"] = std::string(kernel_isa());
  info["simd"] = Eigen::SimdInstructionSetsInUse();
  return info;
}

template <class T>
void bind_all_finite(py::module_& m) {
  m.def(
      "all_finite",
      [](const Array<T>& array) {
        const Index columns = array.ndim() > 1 ? array.shape(0) : 1;
        const Eigen::Map<const State<T>> numbers(
            array.data(), array.size() / std::max(columns, Index{1}), columns);
        return std::isfinite(largest_size<T>(numbers));
      },
      py::arg().noconvert());
}

}  // namespace

void bind_base(py::module_& m) {
  remember_main_thread();
  set_interrupt_check(&python_signal_pending);
  py::register_exception_translator(&translate_interrupt);
  py::native_enum<Status>(m, "Status", "enum.IntEnum")
      .value("CONVERGED", Status::converged)
      .value("FIXED_STEPS", Status::fixed_steps)
      .value("INACCURATE", Status::inaccurate)
      .value("MAX_ITERATIONS", Status::max_iterations)
      .value("INDEFINITE", Status::indefinite)
      .value("DIVERGED", Status::diverged)
      .finalize();
  m.def("set_num_threads", &set_num_threads);
  m.def("num_threads", &num_threads);
  m.attr("version") = EQUIPROP_VERSION;
  m.attr("MOST_GRADIENT_ERROR") = most_gradient_error;
  m.def("build_info", &build_info);
  m.def("permutation", [](std::int64_t n, std::uint64_t seed, std::uint64_t stream) {
    require(n >= 0, "permutation", "The length is at least 0.", n);
    const auto order = Random(seed, stream).permutation(n);
    return py::array_t<std::int64_t>(n, order.data());
  });
  bind_all_finite<float>(m);
  bind_all_finite<double>(m);
  m.def("uniform", [](std::int64_t n, std::uint64_t seed, std::uint64_t stream) {
    require(n >= 0, "uniform", "The length is at least 0.", n);
    Random random(seed, stream);
    Eigen::ArrayXd values(n);
    for (auto& value : values) value = random.uniform();
    return as_vector(values);
  });
}

}  // namespace equiprop::bindings
