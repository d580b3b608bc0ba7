#include "equiprop/linear/linear_operator.hpp"

#include "equiprop/base/kernels.hpp"

namespace equiprop {

template <std::floating_point S>
void largest_sizes(const ConstStateRef<S>& a, PerSample<double>& out) {
  resize_to(out, a.cols());
  for (Index j = 0; j < a.cols(); ++j)
    out(j) = static_cast<double>(kernels<S>().largest_size(a.rows(), a.col(j).data()));
}

template <std::floating_point S>
PerSample<double> LinearSystem<S>::scale() const {
  const State<S> scaled = diagonal.array() * b.array();
  PerSample<double> out;
  largest_sizes<S>(scaled, out);
  return out;
}

template void largest_sizes<float>(const ConstStateRef<float>&, PerSample<double>&);
template void largest_sizes<double>(const ConstStateRef<double>&, PerSample<double>&);
template struct LinearSystem<float>;
template struct LinearSystem<double>;

}  // namespace equiprop
