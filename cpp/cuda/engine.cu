/// Implements engine.hpp on a device.

#include "engine.hpp"
#include "engine_device.cuh"
#include "run.hpp"

namespace equiprop::cuda {

std::string why_unavailable() {
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error == cudaSuccess && devices > 0) return {};
  if (error == cudaErrorInsufficientDriver)
    return "[cuda] This machine has no NVIDIA driver, or one that is older than CUDA 13.0. Use the "
           "CPU, or install a driver.";
  return std::string(
             "[cuda] This machine shows no CUDA device. Use the CPU, or check "
             "CUDA_VISIBLE_DEVICES. Received ") +
         cudaGetErrorName(error) + ".";
}

std::size_t free_memory() {
  std::size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "a query of the memory");
  return free;
}

template <class T>
std::size_t memory_of(const NetworkFields& network, std::size_t most) {
  const Sizes sizes(network);
  const std::size_t report = most_nodes * (1 + sizeof(int) + 2 * sizeof(T));
  const std::size_t images = network.has_images() ? ImagePlan<T>(network).bytes(most) : 0;
  const std::size_t arrived = network.channels_first ? sizes.inputs * most : 0;
  return sizeof(T) * (3 * sizes.parameters + most * sizes.per_sample() + arrived) + most * report +
         images;
}

namespace {

/// Calls run(), and throws OutOfDeviceMemory if an allocation in it fails.
template <class T, class Run>
void within_memory(const NetworkFields& network, std::size_t most, const Run& run) {
  try {
    run();
  } catch (const AllocationFailure& failure) {
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "a query of the memory");
    const std::size_t fixed = memory_of<T>(network, 0), sample = memory_of<T>(network, 1) - fixed;
    const std::size_t fit = free > fixed ? (free - fixed) / sample : 0;
    throw OutOfDeviceMemory(
        "[cuda] The device has too little memory for batches of " + std::to_string(most) +
            " samples: " +
            (failure.bytes > 0 ? "an allocation of " + std::to_string(failure.bytes) + " bytes"
                               : std::string("building a graph")) +
            " failed. Use a batch of at most " + std::to_string(fit) + " samples. Received " +
            std::to_string(free) + " free bytes of " + std::to_string(total) + ".",
        fit);
  }
}

}  // namespace

template <class T>
Engine<T>::Engine(const NetworkFields& network, std::size_t most, const Cut& cut,
                  Precision precision) {
  check_supported(network);
  require(std::same_as<T, float> || precision == Precision::exact, "cuda",
          "A network in float64 has precision=\"exact\".", "another precision");
  require(!network.has_images() || precision == Precision::exact, "cuda",
          "A network of images has precision=\"exact\".", "another precision");
  const std::string reason = why_unavailable();
  if (!reason.empty()) throw DeviceError(reason);
  within_memory<T>(network, most,
                   [&] { device_ = std::make_unique<Device>(network, most, cut, precision); });
}
template <class T>
Engine<T>::~Engine() = default;

template <class T>
void Engine<T>::upload(const T* theta) {
  device_->send(device_->theta.data(), theta, device_->sizes.parameters);
  device_->transpose_weights();
  device_->wait();
}
template <class T>
void Engine<T>::download(T* theta) const {
  device_->fetch(theta, device_->theta.data(), device_->sizes.parameters);
}

template <class T>
void Engine<T>::clamp(const T* x, std::size_t batch) {
  require(batch > 0 && batch <= device_->most, "cuda",
          "A batch has 1 to " + std::to_string(device_->most) + " samples.", batch);
  device_->batch = batch;
  device_->weighted = false;
  device_->send_input(x);
  device_->compute_drive();
}
template <class T>
void Engine<T>::set_targets(const CostFields& cost, const T* y) {
  device_->cost = cost;
  device_->send(device_->y.data(), y, device_->sizes.outputs * device_->batch);
}
template <class T>
void Engine<T>::set_weights(const T* weights) {
  device_->weighted = weights != nullptr;
  if (weights != nullptr) device_->send(device_->sample_weights.data(), weights, device_->batch);
}
template <class T>
void Engine<T>::write(std::size_t slot, const T* s) {
  device_->send(device_->slot(slot), s, device_->sizes.units * device_->batch);
}
template <class T>
void Engine<T>::read(std::size_t slot, T* s) const {
  device_->fetch(s, device_->slot(slot), device_->sizes.units * device_->batch);
}
template <class T>
void Engine<T>::read_outputs(std::size_t slot, T* outputs) const {
  const std::size_t units = device_->sizes.units, count = device_->sizes.outputs;
  check(cudaMemcpy2DAsync(outputs, count * sizeof(T), device_->slot(slot) + units - count,
                          units * sizeof(T), count * sizeof(T), device_->batch, cudaMemcpyDefault,
                          device_->stream),
        "a copy");
  device_->wait();
}

template <class T>
void Engine<T>::start_free(const SolverFields& solver, std::size_t to,
                           std::optional<std::size_t> from) {
  Phase<T> phase{};
  phase.nodes = 1;
  phase.start = from ? device_->slot(*from) : nullptr;
  phase.state = device_->slot(to);
  within_memory<T>(device_->network, device_->most, [&] { device_->relax_phase(phase, solver); });
}
template <class T>
Outcome Engine<T>::relax_free(const SolverFields& solver, std::size_t to,
                              std::optional<std::size_t> from) {
  start_free(solver, to, from);
  return device_->report(1);
}
template <class T>
void Engine<T>::start_nudged(const SolverFields& solver, std::span<const double> betas,
                             std::size_t from, std::size_t to) {
  require(!betas.empty() && betas.size() <= most_nodes && to + betas.size() <= slots, "cuda",
          "A nudging rule has 1 to 8 nodes.", betas.size());
  Phase<T> phase{};
  phase.nodes = static_cast<int>(betas.size());
  std::copy(betas.begin(), betas.end(), phase.beta);
  phase.cost = device_->cost_view();
  phase.start = device_->slot(from);
  phase.state = device_->slot(to);
  phase.first_block = device_->output_block();
  within_memory<T>(device_->network, device_->most, [&] { device_->relax_phase(phase, solver); });
}
template <class T>
Outcome Engine<T>::relax(const SolverFields& solver, std::span<const double> betas,
                         std::size_t from, std::size_t to) {
  start_nudged(solver, betas, from, to);
  return device_->report(betas.size());
}

template <class T>
void Engine<T>::start_side_network(double tolerance, int limit, std::size_t at,
                                   std::size_t lambda) {
  const Device& d = *device_;
  require(d.network.tied, "cuda", "Conjugate gradients need a symmetric Hessian: tied weights.",
          "separate feedback weights");
  const double vanishing =
      std::sqrt(double{std::numeric_limits<T>::min()}) / std::numeric_limits<T>::epsilon();
  if (d.images) {
    const SolverFields solver{Method::block_update, 0, tolerance, limit};
    within_memory<T>(d.network, d.most, [&] {
      device_->images->solve(d.cost_view(), solver, T(vanishing), d.slot(at), d.slot(lambda),
                             d.batch);
    });
    return;
  }
  const SideNetwork<T> side{static_cast<int>(d.batch),
                            d.drive.data(),
                            d.cost_view(),
                            d.slot(at),
                            d.slot(lambda),
                            T(tolerance),
                            T(vanishing),
                            limit,
                            d.status.data(),
                            d.iterations.data(),
                            d.residual.data(),
                            d.error.data()};
  const auto bytes = [&](int tile, int ranks) {
    return tile == 1   ? ConjugateThread<T, 1>::bytes(d.view, ranks)
           : tile == 4 ? ConjugateThread<T, 4>::bytes(d.view, ranks)
                       : ConjugateThread<T, 8>::bytes(d.view, ranks);
  };
  const auto [tile, ranks] = d.division(d.batch, bytes);
  const auto kernel = tile == 1   ? &solve_side_network<T, 1>
                      : tile == 4 ? &solve_side_network<T, 4>
                                  : &solve_side_network<T, 8>;
  d.run("the side network", kernel, d.tiles(d.batch, tile, ranks, bytes(tile, ranks)), d.view,
        side);
}
template <class T>
Outcome Engine<T>::solve(double tolerance, int limit, std::size_t at, std::size_t lambda) {
  start_side_network(tolerance, limit, at, lambda);
  return device_->report(1);
}

template <class T>
void Engine<T>::displace(std::size_t to, std::size_t first, std::size_t from,
                         std::span<const double> weights) {
  Terms<T> terms = device_->terms_at(first);
  terms.nodes = static_cast<int>(weights.size());
  std::copy(weights.begin(), weights.end(), terms.weight);
  device_->run("a displacement", &cuda::displace<T>,
               Device::elementwise(device_->sizes.units * device_->batch), terms,
               device_->slot(from), device_->slot(to));
}

template <class T>
void Engine<T>::contrast(std::size_t first, std::span<const double> weights) {
  Terms<T> terms = device_->terms_at(first);
  terms.nodes = static_cast<int>(weights.size());
  std::copy(weights.begin(), weights.end(), terms.weight);
  device_->run("a contrast", &take_factors<T>,
               Device::elementwise(device_->sizes.units * device_->batch), device_->view, terms);
  device_->sum_gradient(terms.nodes, false);
}
template <class T>
void Engine<T>::mixed(std::size_t at, std::size_t v, double weight) {
  Terms<T> terms = device_->terms_at(at);
  terms.v = device_->slot(v);
  terms.weight[0] = T(weight);
  device_->run("a mixed derivative", &take_factors<T>,
               Device::elementwise(device_->sizes.units * device_->batch), device_->view, terms);
  device_->sum_gradient(2, true);
}

template <class T>
void Engine<T>::read_gradient(T* gradient) const {
  device_->fetch(gradient, device_->gradient.data(), device_->sizes.parameters);
}
template <class T>
void Engine<T>::read_input_gradient(T* out) {
  const Device& d = *device_;
  const int inputs = static_cast<int>(d.sizes.inputs), batch = static_cast<int>(d.batch);
  std::optional<Array<T>> memory;
  within_memory<T>(d.network, d.most, [&] { memory.emplace(d.sizes.inputs * d.batch, d.stream); });
  const Array<T>& result = *memory;
  if (device_->images) {
    device_->images->derive_by_input(d.batch, result.data());
    return d.fetch_input(out, result.data());
  }
  check(cudaMemsetAsync(result.data(), 0, result.size() * sizeof(T), d.stream), "a reset");
  for (const InputCoupling& c :
       d.from_input) {  // one after the other, because they add to the same numbers
    const Strided<T> w = d.weights_by_layer(c), of_units = d.factor(d.sum, c.layer);
    d.multiply("the derivative by the input", {{inputs,
                                                batch,
                                                d.view.layer[c.layer].units,
                                                gradient_chunk,
                                                {w.data, w.column, w.row},
                                                {of_units.data, of_units.column, 1},
                                                {result.data(), inputs, T(-1), nullptr, true}}});
  }
  d.fetch_input(out, result.data());
}

template <class T>
void Engine<T>::update(const UpdateFields& step) {
  Device& d = *device_;
  within_memory<T>(d.network, d.most, [&] { d.take_averages(step.adam, step.momentum != 0); });
  descend(step, nullptr);
}
template <class T>
void Engine<T>::descend(const UpdateFields& step, const RunState* run) {
  const Device& d = *device_;
  require(!step.rates.empty() && step.rates.size() <= most_rates, "cuda",
          "An optimiser has 1 to 64 learning rates.", step.rates.size());
  UpdateView<T> view{};
  view.count = static_cast<std::ptrdiff_t>(d.sizes.parameters);
  view.gradient = d.gradient.data();
  view.theta = d.theta.data();
  view.first = d.first ? d.first->data() : nullptr;
  view.second = d.second ? d.second->data() : nullptr;
  view.rates = static_cast<int>(step.rates.size());
  for (std::size_t r = 0; r < step.rates.size(); ++r) {
    view.begin[r] = step.rates[r].begin;
    view.rate[r] = T(step.rates[r].rate);
  }
  view.momentum = T(step.momentum);
  view.decay = T(step.decay);
  view.beta1 = T(step.beta1);
  view.beta2 = T(step.beta2);
  view.epsilon = T(step.epsilon);
  view.correction1 = T(step.correction1);
  view.inverse_root = T(1) / std::sqrt(T(step.correction2));
  view.run = run;
  d.run("a step of the optimiser", &cuda::descend<T>, Device::elementwise(d.sizes.parameters),
        view);
  d.transpose_weights();
}

template <class T>
void* Engine<T>::stream() const {
  return static_cast<cudaStream_t>(device_->stream);
}
template <class T>
void Engine<T>::wait() const {
  device_->wait();
}

}  // namespace equiprop::cuda

#include "engine_arrays.cuh"
#include "engine_run.cuh"

namespace equiprop::cuda {

template std::size_t memory_of<float>(const NetworkFields&, std::size_t);
template std::size_t memory_of<double>(const NetworkFields&, std::size_t);
template class Engine<float>;
template class Engine<double>;

}  // namespace equiprop::cuda
