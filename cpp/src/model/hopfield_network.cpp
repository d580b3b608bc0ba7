#include "equiprop/base/random.hpp"
#include "equiprop/model/hopfield.hpp"

namespace equiprop {

template <std::floating_point S>
void HopfieldNetwork<S>::set_scaling(std::optional<Scaling> scaling) {
  const Index size = scaling ? scaling->offset().size() : 1, inputs = topology_->num_inputs();
  require(size == 1 || size == inputs, "set_scaling",
          "A scaling has one offset for all inputs, or for each.", size, " offsets for ", inputs,
          " inputs");
  scaling_ = std::move(scaling);
}

template <std::floating_point S>
void HopfieldNetwork<S>::initialize(std::uint64_t seed, double gain) {
  require(gain >= 0 && std::isfinite(gain), "initialize", "The gain is at least 0.", gain);
  parameters_->setZero();
  for (std::size_t e = 0; e < topology_->couplings().size(); ++e) {
    const Block& block = topology_->weights(e);
    const double limit = gain * std::sqrt(6.0 / topology_->fans(e));
    Random random(seed, e);
    if (const auto within = topology_->lateral_weights(e)) {
      Parameters<double> numbers(block.size());  // rounded once, after the projection
      for (double& number : numbers) number = limit * random.symmetric();
      within->project(true, numbers.data());
      parameters_->segment(block.offset, block.size()) = numbers.cast<S>();
      continue;
    }
    for (Index i = 0; i < block.size(); ++i)
      (*parameters_)(block.offset + i) = static_cast<S>(limit * random.symmetric());
  }
  for (const auto e : topology_->inner()) {
    const Block& back = topology_->feedback_weights(e);
    parameters_->segment(back.offset, back.size()) =
        parameters_->segment(topology_->weights(e).offset, back.size()).eval();
  }
}

template <std::floating_point S>
State<S> HopfieldNetwork<S>::initial_state(Index batch) const {
  State<S> s(topology_->state().size(), batch);
  rest(s);
  return s;
}

template <std::floating_point S>
void HopfieldNetwork<S>::rest(StateRef<S> s) const {
  if (s.cols() == 0) return;
  for (std::size_t k = 0; k < topology_->num_free(); ++k) {
    const Block& block = topology_->state()[k];
    topology_->units(k).template rest<S>(s.block(block.offset, 0, block.rows, 1));
  }
  s.rightCols(s.cols() - 1).colwise() = s.col(0);
}

template class HopfieldNetwork<float>;
template class HopfieldNetwork<double>;

}  // namespace equiprop
