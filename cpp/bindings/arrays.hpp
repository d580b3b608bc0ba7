#pragma once
/// Views of NumPy arrays as Eigen matrices, without copies: (batch, units) in C order has the memory layout of Eigen's
/// column-major (units, batch). Shapes are checked.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "equiprop/base/error.hpp"
#include "equiprop/base/report.hpp"
#include "equiprop/base/spare_states.hpp"

namespace equiprop::bindings {

namespace py = pybind11;

template <class T>
using Array = py::array_t<T, py::array::c_style>;

/// Returns a view of the array (batch, units) as a state (units, batch). `units` < 0 accepts any number of units.
template <class T>
Eigen::Map<const State<T>> as_state(const Array<T>& array, Index units, const char* name) {
  require(array.ndim() == 2 && (units < 0 || array.shape(1) == units), name,
          "The array has shape (batch, " + (units < 0 ? "units" : std::to_string(units)) + ").",
          array.ndim(), " dimensions, the last of length ",
          array.ndim() > 0 ? array.shape(array.ndim() - 1) : 0);
  return {array.data(), array.shape(1), array.shape(0)};
}

template <class T>
Eigen::Map<State<T>> as_state(Array<T>& array) {
  return {array.mutable_data(), array.shape(1), array.shape(0)};
}

template <class T>
Array<T> new_state(Index units, Index batch) {
  if (units * batch * static_cast<Index>(sizeof(T)) < fewest_spare_bytes)
    return Array<T>({batch, units});
  auto* owned = new State<T>(take_state<T>(units, batch));
  const py::capsule owner(owned, [](void* given) {
    auto* state = static_cast<State<T>*>(given);
    keep_state<T>(std::move(*state));
    delete state;
  });
  return Array<T>({batch, units}, owned->data(), owner);
}

/// Returns a one-dimensional copy.
template <class Vector>
auto as_vector(const Vector& values) {
  return Array<typename Vector::Scalar>(values.size(), values.data());
}

/// Moves the vector into a NumPy array, which owns it from then on.
template <class Vector>
auto hand_over(Vector&& values) {
  auto* owned = new Vector(std::move(values));
  const py::capsule owner(owned, [](void* vector) { delete static_cast<Vector*>(vector); });
  return Array<typename Vector::Scalar>(owned->size(), owned->data(), owner);
}

/// Returns (status, iterations, residual, fallbacks, error); each has one entry per sample.
inline py::tuple as_tuple(const Report& report) {
  return py::make_tuple(as_vector(report.status.template cast<std::int8_t>().eval()),
                        as_vector(report.iterations), as_vector(report.residual),
                        as_vector(report.fallbacks), as_vector(report.error));
}

}  // namespace equiprop::bindings
