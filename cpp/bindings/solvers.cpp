#include <pybind11/stl.h>

#include "bindings.hpp"
#include "equiprop/linear/linear_solver.hpp"
#include "equiprop/solver/relax.hpp"

namespace equiprop::bindings {
namespace {

/// Binds the two fields of the stopping rule. Python sets each option by name.
template <class Options>
py::class_<Options> bind_options(py::module_& m, const char* name) {
  return py::class_<Options>(m, name)
      .def(py::init<>())
      .def_readwrite("tolerance", &Options::tolerance)
      .def_readwrite("max_iterations", &Options::max_iterations);
}

template <class Options>
py::class_<Options> bind_relaxation(py::module_& m, const char* name) {
  return bind_options<Options>(m, name).def_readwrite("anderson", &Options::anderson);
}

}  // namespace

void bind_solvers(py::module_& m) {
  bind_relaxation<BlockUpdate>(m, "BlockUpdate");
  bind_relaxation<FixedPointIteration>(m, "FixedPointIteration")
      .def_readwrite("damping", &FixedPointIteration::damping);
  bind_relaxation<Euler>(m, "Euler").def_readwrite("step_size", &Euler::step_size);
  bind_options<ConjugateGradient>(m, "ConjugateGradient");
  bind_options<Richardson>(m, "Richardson").def_readwrite("step_size", &Richardson::step_size);
  bind_options<Neumann>(m, "Neumann");
  bind_options<GMRES>(m, "GMRES").def_readwrite("restart", &GMRES::restart);
}

}  // namespace equiprop::bindings
