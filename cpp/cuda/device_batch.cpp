#include "equiprop/cuda/device_batch.hpp"

#include <algorithm>

#include "engine.hpp"
#include "equiprop/model/convolution.hpp"
#include "run_fields.hpp"
#include "second_phase/accuracy.hpp"

namespace equiprop::cuda {
namespace {

LayerFields fields_of(const Layer& layer) {
  LayerFields fields{static_cast<int>(layer.shape.units())};
  fields.height = static_cast<int>(layer.shape.height);
  fields.width = static_cast<int>(layer.shape.width);
  if (const auto* clip = std::get_if<Clip>(&layer.activation)) {
    fields.gain = clip->gain;
    fields.lower = clip->lower;
    fields.upper = clip->upper;
  } else if (const auto* logistic = std::get_if<Logistic>(&layer.activation)) {
    fields.rho = Rho::logistic;
    fields.gain = logistic->gain;
    fields.shift = logistic->shift;
  } else if (const auto* softplus = std::get_if<Softplus>(&layer.activation)) {
    fields.rho = Rho::softplus;
    fields.gain = softplus->gain;
  } else {
    fields.rho = Rho::tanh;
  }
  return fields;
}

Pair pair_of(const Extent& extent) {
  return {static_cast<int>(extent.y), static_cast<int>(extent.x)};
}
WindowFields fields_of(const Windows& windows) {
  return {pair_of(windows.kernel), pair_of(windows.stride), pair_of(windows.padding),
          pair_of(windows.dilation), static_cast<int>(windows.groups)};
}

/// Stores the kind of a coupling. Throws InvalidArgument if the kernels have no such kind.
void describe(const Coupling& coupling, CouplingFields& fields) {
  if (coupling.as<Dense>() != nullptr) return;
  fields.kind = CouplingKind::convolution;
  if (const auto* convolution = coupling.as<Convolution>()) {
    fields.windows = fields_of(convolution->windows);
    fields.windows.mean_pool = static_cast<int>(convolution->mean_pool);
  } else if (const auto* pooled = coupling.as<MaxPooled>()) {
    fields.windows = fields_of(pooled->windows);
    fields.windows.max_pool = static_cast<int>(pooled->pool);
  } else if (const auto* identity = coupling.as<Identity>()) {
    fields.kind = CouplingKind::identity;
    fields.gain = identity->gain;
  } else {
    require(false, "cuda",
            "The kernels support dense couplings, convolutions with mean or maximum pooling, and "
            "identities.",
            coupling.kind());
  }
}

NetworkFields fields_of(const Topology& topology) {
  NetworkFields fields;
  fields.legendre = topology.potential() == Potential::legendre;
  fields.tied = topology.feedback() == Feedback::tied;
  fields.channels_first = topology.converts_input();
  for (const Layer& layer : topology.layers()) fields.layers.push_back(fields_of(layer));
  for (std::size_t c = 0; c < topology.couplings().size(); ++c) {
    const Coupling& coupling = topology.couplings()[c];
    const bool inner = coupling.source() != 0 && coupling.target() != 0;
    const std::ptrdiff_t weights = topology.weights(c).offset;
    const bool separate = inner && topology.feedback() == Feedback::separate;
    CouplingFields& added = fields.couplings.emplace_back();
    added.source = static_cast<int>(coupling.source());
    added.target = static_cast<int>(coupling.target());
    added.weights = weights;
    added.feedback = separate ? topology.feedback_weights(c).offset : weights;
    describe(coupling, added);
  }
  for (std::size_t k = 0; k < topology.num_free(); ++k)
    fields.biases.push_back(topology.bias(k).offset);
  for (const auto& block : topology.blocks())
    fields.blocks.emplace_back(block.begin(), block.end());
  fields.parameters = topology.parameters().size();
  return fields;
}

}  // namespace

template <std::floating_point T>
DeviceBatch<T>::DeviceBatch(const HopfieldNetwork<T>& network, Index most, const Division& division,
                            Precision precision)
    : engine_(std::make_unique<Engine<T>>(
          fields_of(network.topology()), static_cast<std::size_t>(std::max<Index>(most, 1)),
          Cut{division.cluster, division.tile, division.threads, division.side}, precision)),
      topology_(network.topology()),
      phases_(slots) {
  upload(network.parameters());
}
template <std::floating_point T>
DeviceBatch<T>::~DeviceBatch() = default;
template <std::floating_point T>
DeviceBatch<T>::DeviceBatch(DeviceBatch&&) noexcept = default;
template <std::floating_point T>
DeviceBatch<T>& DeviceBatch<T>::operator=(DeviceBatch&&) noexcept = default;

template <std::floating_point T>
bool DeviceBatch<T>::conservative() const {
  return topology_.feedback() == Feedback::tied;
}

template <std::floating_point T>
void DeviceBatch<T>::upload(const ConstParametersRef<T>& theta) {
  require(theta.size() == topology_.parameters().size(), "cuda",
          "The parameters are those of the network.", theta.size(), " numbers");
  engine_->upload(theta.data());
}
template <std::floating_point T>
void DeviceBatch<T>::download(ParametersRef<T> theta) const {
  require(theta.size() == topology_.parameters().size(), "cuda",
          "The parameters are those of the network.", theta.size(), " numbers");
  engine_->download(theta.data());
}

template <std::floating_point T>
void DeviceBatch<T>::clamp(const ConstStateRef<T>& x, const ConstStateRef<T>& y,
                           double logit_scale) {
  require(x.rows() == topology_.num_inputs(), "cuda", "Inputs are (inputs, batch).", x.rows(),
          " x ", x.cols());
  const State<T> inputs = x;  // without gaps between the samples
  clamp_there(inputs.data(), inputs.cols(), y, logit_scale);
}
template <std::floating_point T>
void DeviceBatch<T>::clamp_there(const T* x, Index samples, const ConstStateRef<T>& y,
                                 double logit_scale) {
  require(y.rows() == topology_.num_outputs() && y.cols() == samples, "cuda",
          "Targets are (outputs, batch).", y.rows(), " x ", y.cols(), " for ", samples, " samples");
  const State<T> targets = y;
  if (logit_scale == 0)
    cost_.emplace(SquaredError<T>(targets));
  else
    cost_.emplace(CrossEntropy<T>(targets, logit_scale));
  samples_ = samples;
  engine_->clamp(x, static_cast<std::size_t>(samples));
  engine_->set_targets({logit_scale}, targets.data());
  engine_->wait();  // the copies above end with this function
  weights_.resize(0);
}
template <std::floating_point T>
void DeviceBatch<T>::follow(void* stream) {
  engine_->follow(stream);
}
template <std::floating_point T>
void* DeviceBatch<T>::stream() const {
  return engine_->stream();
}
template <std::floating_point T>
void DeviceBatch<T>::wait() const {
  engine_->wait();
}
template <std::floating_point T>
bool DeviceBatch<T>::all_finite(const T* numbers, Index count) {
  return engine_->all_finite(numbers, static_cast<std::size_t>(count));
}
template <std::floating_point T>
void DeviceBatch<T>::set_sample_weights(const PerSample<T>& weights) {
  check_sample_weights(weights, samples());
  weights_ = weights;
  engine_->set_weights(weights.size() > 0 ? weights.data() : nullptr);
  engine_->wait();
}

template <std::floating_point T>
const Report& DeviceBatch<T>::relax_free(const Solver& solver, Slot to, std::optional<Slot> from) {
  report_ = report_of(engine_->relax_free(fields_of<T>(solver), to, from), 0, samples());
  phases_[to] = report_;
  return report_;
}
template <std::floating_point T>
void DeviceBatch<T>::relax_all(const NudgingRule<T>& rule, const Solver& solver, Slot from,
                               Slot first, Report& report) {
  std::vector<double> betas;
  for (const auto& node : rule) betas.push_back(static_cast<double>(node.beta));
  const Outcome outcome = engine_->relax(fields_of<T>(solver), betas, from, first);
  for (std::size_t k = 0; k < rule.size(); ++k) {
    Report& phase = phases_[first + k];
    phase = report_of(outcome, static_cast<Index>(k) * samples(), samples());
    report.merge(phase);
  }
}
template <std::floating_point T>
const Report& DeviceBatch<T>::relax(const Solver& solver, T beta, Slot from, Slot to) {
  report_.restart(samples());
  report_.status.setConstant(Status::converged);
  relax_all({{beta, T(0)}}, solver, from, to, report_);
  return report_;
}

template <std::floating_point T>
void DeviceBatch<T>::refine(const NudgingRule<T>& rule, Slot first, Report& report) {
  State<T> response = State<T>::Zero(topology_.state().size(), samples()), state(response);
  for (std::size_t k = 0; k < rule.size(); ++k) {
    read(first + k, state);
    response += rule[k].weight * state;
  }
  for (Index j = 0; j < samples(); ++j) {
    const double size = largest_of<T>(state.rows(), state.col(j).data());
    const double resolved = accuracy::measure(response.col(j).data(), response.rows(),
                                              std::span<const Block>(topology_.state().blocks()))
                                .resolved;
    const double divisor = std::max(resolved, accuracy::negligible * size);
    double error = 0;
    for (std::size_t k = 0; k < rule.size(); ++k) {
      const Report& phase = phases_[first + k];
      const double of_state =
          (phase.residual(j) + 4 * accuracy::epsilon<T> * size) * accuracy::amplification(phase, j);
      if (of_state != 0)
        error += of_state * std::abs(static_cast<double>(rule[k].weight)) / divisor;
    }
    report.error(j) = error;
  }
  accuracy::mark_inaccurate(report);
}

template <std::floating_point T>
const Report& DeviceBatch<T>::solve(const LinearSolver& solver, Slot at, Slot lambda) {
  const auto* conjugate = std::get_if<ConjugateGradient>(&solver);
  require(conjugate != nullptr, "cuda", "The kernels solve the side network by ConjugateGradient.",
          "another linear solver");
  conjugate->check("ConjugateGradient");
  report_ = report_of(engine_->solve(conjugate->tolerance_for<T>(),
                                     static_cast<int>(conjugate->max_iterations), at, lambda),
                      0, samples());
  accuracy::mark_inaccurate(report_);
  return report_;
}

template <std::floating_point T>
void DeviceBatch<T>::displacement(Slot to, Slot first, Slot from, std::span<const T> weights) {
  const std::vector<double> numbers(weights.begin(), weights.end());
  engine_->displace(to, first, from, numbers);
}

/// Hands the gradient on the device to a sink. Returns false if it is not finite and the sink changes parameters.
template <std::floating_point T>
bool DeviceBatch<T>::deliver(ParameterSink<T>& sink) {
  if (sink.needs_bound() && !engine_->gradient_is_finite()) return false;
  Parameters<T> gradient(topology_.parameters().size());
  engine_->read_gradient(gradient.data());
  sink.numbers(0, gradient);
  return true;
}
template <std::floating_point T>
bool DeviceBatch<T>::contrast(Slot first, std::span<const T> weights, ParameterSink<T>& sink) {
  const std::vector<double> numbers(weights.begin(), weights.end());
  engine_->contrast(first, numbers);
  return deliver(sink);
}
template <std::floating_point T>
bool DeviceBatch<T>::mixed(Slot at, Slot v, T weight, ParameterSink<T>& sink) {
  engine_->mixed(at, v, static_cast<double>(weight));
  return deliver(sink);
}

/// Marks the samples for which a product of two numbers in these slots overflows.
template <std::floating_point T>
void DeviceBatch<T>::mark_large(Slot first, Slot last, Report& report) const {
  PerSample<double> largest = PerSample<double>::Zero(samples());
  State<T> state(topology_.state().size(), samples());
  for (Slot slot = first; slot <= last; ++slot) {
    read(slot, state);
    for (Index j = 0; j < samples(); ++j)
      raise_to(largest_of<T>(state.rows(), state.col(j).data()), largest(j));
  }
  const auto limit = static_cast<double>(std::numeric_limits<T>::max());
  for (Index j = 0; j < samples(); ++j)
    if (!(largest(j) * largest(j) <= limit)) report.status(j) = Status::diverged;
}
template <std::floating_point T>
void DeviceBatch<T>::mark_contrast(Slot first, std::span<const T> weights, Report& report) const {
  mark_large(first, first + weights.size() - 1, report);
}
template <std::floating_point T>
void DeviceBatch<T>::mark_mixed(Slot at, Slot v, T, Report& report) const {
  mark_large(at, v, report);
}

template <std::floating_point T>
void DeviceBatch<T>::input_contrast(Slot first, std::span<const T> weights, StateRef<T> out) {
  const std::vector<double> numbers(weights.begin(), weights.end());
  engine_->contrast(first, numbers);
  State<T> derivative(out.rows(), out.cols());
  engine_->read_input_gradient(derivative.data());
  out += derivative;
}
template <std::floating_point T>
void DeviceBatch<T>::mixed_input(Slot at, Slot v, T weight, StateRef<T> out) {
  engine_->mixed(at, v, static_cast<double>(weight));
  State<T> derivative(out.rows(), out.cols());
  engine_->read_input_gradient(derivative.data());
  out += derivative;
}

template <std::floating_point T>
T DeviceBatch<T>::objective(Slot slot) const {
  require(cost_.has_value(), "cuda", "The objective is that of a batch that was clamped.",
          "samples that are held");
  State<T> outputs(topology_.num_outputs(), samples());
  engine_->read_outputs(slot, outputs.data());
  PerSample<T> values(samples());
  cost_->value(outputs, values);
  return weighted_mean<T>(values, weights_);
}

template <std::floating_point T>
void DeviceBatch<T>::write(Slot slot, const ConstStateRef<T>& s) {
  require(s.rows() == topology_.state().size() && s.cols() == samples(), "cuda",
          "The state is (units, batch).", s.rows(), " x ", s.cols());
  const State<T> state = s;
  engine_->write(slot, state.data());
  engine_->wait();
}
template <std::floating_point T>
void DeviceBatch<T>::read(Slot slot, StateRef<T> s) const {
  State<T> state(topology_.state().size(), samples());
  engine_->read(slot, state.data());
  s = state;
}

template <std::floating_point T>
void DeviceBatch<T>::descend(const BlockRates<T>& rates, T momentum, T decay) {
  engine_->update(momentum_fields(rates, momentum, decay));
}
template <std::floating_point T>
void DeviceBatch<T>::descend(const BlockRates<T>& rates, const AdamStep<T>& adam) {
  engine_->update(adam_fields(rates, adam));
}

template class DeviceBatch<float>;
template class DeviceBatch<double>;

}  // namespace equiprop::cuda
