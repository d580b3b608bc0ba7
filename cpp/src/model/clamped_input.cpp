#include "equiprop/model/clamped_input.hpp"

#include "equiprop/base/parallel.hpp"
#include "equiprop/base/spare_states.hpp"

namespace equiprop {

template <Scalar S>
ClampedInput<S>::ClampedInput(std::shared_ptr<BoundNetwork<S>> network, const ConstStateRef<S>& x)
    : network_(std::move(network)),
      x_(shared_state<S>(x.rows(), x.cols())),
      drive_(shared_state<S>(padded_rows<S>(network_->topology().state().size()), x.cols())),
      sizes_(std::make_shared<PerSample<double>>(x.cols())),
      samples_(sample_range(0, x.cols())) {
  const Topology& topology = network_->topology();
  require(x.rows() == topology.num_inputs(), "clamp",
          "The input has one row for each unit of the input layer.", x.rows(), " rows for ",
          topology.num_inputs(), " units");
  drive_->bottomRows(drive_->rows() - topology.state().size()).setZero();
  reclamp(x);
}

template <Scalar S>
void ClampedInput<S>::reclamp(const ConstStateRef<S>& x) {
  require(x.rows() == x_->rows() && x.cols() == x_->cols(), "reclamp",
          "The new input has the shape of the old one.", x.rows(), " x ", x.cols(), " for ",
          x_->rows(), " x ", x_->cols());
  for_each_chunk(x.cols(), chunk_columns, [&](Index begin, Index count) {
    for (Index j = begin; j < begin + count; ++j) {
      take_sample(x.col(j), x_->col(j));
      if constexpr (std::floating_point<S>)
        (*sizes_)(j) =
            static_cast<double>(kernels<S>().largest_size(x_->rows(), x_->col(j).data()));
    }
  });
  network_->pack();
  for (std::size_t k = 0; k < network_->num_free(); ++k)
    drive_layer(k, rows_of(*drive_, network_->block(k)));
  check_parameters();
}

/// Copies a sample of the input in the order of the units of the input layer.
template <Scalar S>
void ClampedInput<S>::take_sample(const ConstParametersRef<S>& from, ParametersRef<S> to) const {
  const Topology& topology = network_->topology();
  const Shape& shape = topology.layers().front().shape;
  if (topology.converts_input())
    to.reshaped(shape.channels, shape.positions()) =
        from.reshaped(shape.positions(), shape.channels).transpose();
  else
    to = from;
}

template <Scalar S>
void ClampedInput<S>::add_input_pulls(std::size_t coupling, const Signal<S>& target,
                                      StateRef<S> out) const {
  State<S> selected;
  const EdgeSignals<S> u{{S(1), x(selected)}, target};
  const Topology& topology = network_->topology();
  if (!topology.converts_input()) return network_->edge(coupling).pull(End::source, u, out);
  State<S> units = State<S>::Zero(out.rows(), out.cols());
  network_->edge(coupling).pull(End::source, u, units);
  const Shape& shape = topology.layers().front().shape;
  for (Index j = 0; j < out.cols(); ++j)
    out.col(j).reshaped(shape.positions(), shape.channels) +=
        units.col(j).reshaped(shape.channels, shape.positions()).transpose();
}

/// Throws InvalidArgument unless every parameter is finite. Input weights and biases are checked by the drive, which is
/// not finite if one of them is not; they are read only in that case.
template <Scalar S>
void ClampedInput<S>::check_parameters() const {
  const Topology& topology = network_->topology();
  const auto is_finite = [&](const Block& block) {
    return all_finite(network_->parameters().segment(block.offset, block.size()));
  };
  bool finite = all_finite(*drive_);
  for (const auto e : topology.from_input())  // a kernel may have weights that read only padding
    finite = finite && (!topology.couplings()[e].directed() || is_finite(topology.weights(e)));
  for (const auto e : topology.inner()) {
    finite = finite && is_finite(topology.weights(e));
    if (topology.feedback() == Feedback::separate)
      finite = finite && is_finite(topology.feedback_weights(e));
  }
  if (finite) return;
  for (const Block& block : topology.parameters().blocks())
    require(is_finite(block), "clamp",
            "All parameters are finite. Initialize or load them again; if training diverged, lower "
            "the learning rate.",
            "NaN or infinity in ", block.name);
}

/// Stores bias + the pulls of all couplings from the input to the layer in out, (units of the layer, batch).
template <Scalar S>
void ClampedInput<S>::drive_layer(std::size_t free_layer, StateRef<S> out) const {
  const Block& block = network_->topology().bias(free_layer);
  const auto bias = network_->parameters().segment(block.offset, block.rows);
  bool driven = false;
  for (const auto e : network_->topology().from_input()) {
    if (network_->target(e) != free_layer) continue;
    if (driven)
      network_->edge(e).pull(End::target, {{S(1), *x_}, {S(0), *x_}}, out);
    else
      network_->edge(e).drive(*x_, bias, out);
    driven = true;
  }
  if (!driven) set_bias<S>(bias, out);
}

template <Scalar S>
ConstStateRef<S> ClampedInput<S>::x(State<S>& scratch) const {
  if (contiguous(samples_)) return x_->middleCols(samples_.empty() ? 0 : samples_.front(), batch());
  scratch = columns_of<S>(*x_, samples_);
  return scratch;
}

template <Scalar S>
ClampedInput<S> ClampedInput<S>::select(Samples which) const {
  ClampedInput part(*this);
  part.samples_.clear();
  for (const Index j : which) part.samples_.push_back(samples_[static_cast<std::size_t>(j)]);
  if (contiguous(which)) {
    part.drive_begin_ += which.empty() ? 0 : which.front();
  } else {
    part.drive_ =
        std::make_shared<State<S>>(columns_of<S>(drive_->middleCols(drive_begin_, batch()), which));
    part.drive_begin_ = 0;
  }
  return part;
}

template class ClampedInput<float>;
template class ClampedInput<double>;
template class ClampedInput<Complex>;
template class ClampedInput<Dual<double>>;

}  // namespace equiprop
