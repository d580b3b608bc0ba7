#pragma once
/// Adapts an energy written in Python to the Energy concept.

#include <complex>

#include "arrays.hpp"
#include "equiprop/model/any_model.hpp"

namespace equiprop::bindings {

/// Calls the methods of a Python object with arrays (batch, units). On dual numbers it passes complex arrays s + i h ds
/// with h = 1e-100: for a holomorphic function, the imaginary part divided by h is the directional derivative to the
/// last bit (Squire & Trapp 1998). A vector field has the same methods; its `gradient` returns minus its velocity.
template <class S>
class PythonEnergy {
 public:
  using Scalar = S;
  using Number = std::conditional_t<std::same_as<S, Dual<double>>, std::complex<double>, S>;

  PythonEnergy(py::object model, py::object x, Index units, Index outputs, Index parameters)
      : model_(std::move(model)),
        x_(std::move(x)),
        conservative_(model_.attr("conservative").template cast<bool>()),
        units_(units),
        outputs_(outputs),
        parameters_(parameters) {}
  PythonEnergy(const PythonEnergy& other) { copy(other); }
  PythonEnergy& operator=(const PythonEnergy& other) {
    if (this != &other) copy(other);
    return *this;
  }
  ~PythonEnergy() {
    const py::gil_scoped_acquire gil;
    model_ = {};
    x_ = {};
  }

  Index num_units() const { return units_; }
  Index num_outputs() const { return outputs_; }
  Index num_parameters() const { return parameters_; }
  bool conservative() const { return conservative_; }

  void energy(const ConstStateRef<S>& s, PerSample<S>& out) const {
    const py::gil_scoped_acquire gil;
    read(call("energy", to_python(s)), {s.cols()}, out, "energy");
  }
  void gradient(const ConstStateRef<S>& s, StateRef<S> out) const {
    const py::gil_scoped_acquire gil;
    read(call("gradient", to_python(s)), {s.cols(), s.rows()}, out, "gradient");
  }
  void hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                              StateRef<S> out) const {
    const py::gil_scoped_acquire gil;
    read(call("hessian_vector_product", to_python(s), to_python(v)), {s.cols(), s.rows()}, out,
         "hessian_vector_product");
  }
  void transposed_hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                         StateRef<S> out) const {
    if (conservative_) return hessian_vector_product(s, v, out);
    const py::gil_scoped_acquire gil;
    read(call("transposed_hessian_vector_product", to_python(s), to_python(v)),
         {s.cols(), s.rows()}, out, "transposed_hessian_vector_product");
  }
  void parameter_gradient(const ConstStateRef<S>& s, S weight, ParametersRef<S> grad) const {
    const py::gil_scoped_acquire gil;
    Parameters<S> sum(parameters_);
    read(call("parameter_gradient", to_python(s)), {parameters_}, sum, "parameter_gradient");
    grad += weight * sum;
  }
  void mixed_derivative_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                                ParametersRef<S> grad) const {
    const py::gil_scoped_acquire gil;
    Parameters<S> sum(parameters_);
    read(call("mixed_derivative_product", to_python(s), to_python(v)), {parameters_}, sum,
         "mixed_derivative_product");
    grad += weight * sum;
  }

 private:
  static constexpr double complex_step = 1e-100;

  void copy(const PythonEnergy& other) {
    const py::gil_scoped_acquire gil;
    model_ = other.model_;
    x_ = other.x_;
    conservative_ = other.conservative_;
    units_ = other.units_;
    outputs_ = other.outputs_;
    parameters_ = other.parameters_;
  }
  static Number to_number(const S& v) {
    if constexpr (std::same_as<S, Dual<double>>)
      return {v.value, complex_step * v.derivative};
    else
      return v;
  }
  static S from_number(const Number& v) {
    if constexpr (std::same_as<S, Dual<double>>)
      return {v.real(), v.imag() / complex_step};
    else
      return v;
  }
  static Array<Number> to_python(const ConstStateRef<S>& s) {
    Array<Number> array = new_state<Number>(s.rows(), s.cols());
    as_state<Number>(array) = s.unaryExpr([](const S& v) { return to_number(v); });
    return array;
  }
  /// The method receives copies, so that one that changes its arguments changes neither the caller's x nor a later call.
  template <class... Arguments>
  py::object call(const char* method, const Arguments&... arguments) const {
    return model_.attr(method)(x_.attr("copy")(), arguments...);
  }
  /// Copies the returned array, which must have the given shape, into `out`, contiguous or column-major with a stride.
  /// Throws InvalidArgument if the shape differs, and TypeError if it is no array of numbers.
  template <class Out>
  static void read(const py::object& result, const std::vector<Index>& shape, Out& out,
                   const char* method) {
    const auto array =
        py::array_t<Number, py::array::c_style | py::array::forcecast>::ensure(result);
    if (!array)
      throw py::type_error("[" + std::string(method) +
                           "] An energy's method returns an array of numbers. Received " +
                           py::repr(py::type::of(result)).cast<std::string>() + ".");
    const bool fits = array.ndim() == static_cast<Index>(shape.size()) &&
                      std::equal(shape.begin(), shape.end(), array.shape());
    require(fits, method, "An energy's method returns an array of the documented shape.",
            py::str(py::tuple(array.attr("shape"))).cast<std::string>());
    const Eigen::Map<const State<Number>> values(array.data(), out.rows(), out.cols());
    out = values.unaryExpr([](const Number& v) { return from_number(v); });
  }

  py::object model_, x_;
  bool conservative_ = true;
  Index units_ = 0, outputs_ = 0, parameters_ = 0;
};

}  // namespace equiprop::bindings
