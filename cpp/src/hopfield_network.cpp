#include "equiprop/base/random.hpp"
#include "equiprop/model/hopfield.hpp"

namespace equiprop {

template <class S>
void HopfieldNetwork<S>::initialize(std::uint64_t seed, double gain) {
  require(gain >= 0 && std::isfinite(gain), "initialize", "The gain is at least 0.", gain);
  parameters_->setZero();
  for (std::size_t e = 0; e < topology_->couplings().size(); ++e) {
    const Block& block = topology_->weights(e);
    const double limit = gain * std::sqrt(6.0 / static_cast<double>(block.rows + block.columns));
    Random random(seed, e);
    for (Index i = 0; i < block.size(); ++i)
      (*parameters_)(block.offset + i) = S(static_cast<RealOf<S>>(limit * random.symmetric()));
  }
  for (const auto e : topology_->inner()) {
    const Block& back = topology_->feedback_weights(e);
    parameters_->segment(back.offset, back.size()) =
        parameters_->segment(topology_->weights(e).offset, back.size()).eval();
  }
}

template <class S>
State<S> HopfieldNetwork<S>::initial_state(Index batch) const {
  State<S> s(topology_->state().size(), batch);
  rest(s);
  return s;
}

template <class S>
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
