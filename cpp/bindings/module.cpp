/// The module equiprop._core.

#include "bindings.hpp"

namespace equiprop::bindings {

PYBIND11_MODULE(_core, m) {
  m.doc() = "The C++ core of equiprop. Use the names in `equiprop`; these may change.";
  bind_base(m);
  bind_layers(m);
  bind_solvers(m);
  bind_nudging(m);
  bind_second_phases(m);

  auto dual = m.def_submodule("dual", "Exact limits by dual numbers");
  bind_dual(dual);
  auto c128 = m.def_submodule("c128", "Complex states, for complex steps and complex nudging");
  bind_complex(c128);
  auto f32 = m.def_submodule("f32", "Single precision");
  bind_models<float>(f32);
  bind_second_phase<float>(f32);
  bind_steps<float>(f32);
  auto f64 = m.def_submodule("f64", "Double precision");
  bind_models<double>(f64);
  bind_second_phase<double>(f64);
  bind_steps<double>(f64);
  bind_files(m);
  auto verification = m.def_submodule("verification", "The two processes, step by step");
  bind_verification(verification);
  survive_failing_allocations(m);
}

}  // namespace equiprop::bindings
