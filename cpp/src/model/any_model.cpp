#include "equiprop/model/any_model.hpp"

namespace equiprop {

#define INSTANTIATE(S)               \
  template class EnergyInterface<S>; \
  template class EnergyDecorator<S>; \
  template class AnyEnergy<S>;       \
  template class AnyCost<S>;
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(Complex)
INSTANTIATE(Dual<double>)
#undef INSTANTIATE

}  // namespace equiprop
