/// Implements engine.hpp on a device: its memory and the order of launches.

#include <algorithm>
#include <optional>

#include "conjugate.cuh"
#include "engine.hpp"
#include "equiprop/base/error.hpp"
#include "memory.hpp"
#include "update.cuh"

namespace equiprop::cuda {
namespace {

constexpr unsigned flag_blocks = 64;

int ceiling(std::ptrdiff_t a, int b) {
  return static_cast<int>((a + b - 1) / b);
}

template <class T>
Units<T> units_of(const LayerFields& layer, bool legendre) {
  const double signal_gain = legendre || layer.rho != Rho::clip ? 1 : layer.gain;
  const double bend = layer.rho == Rho::tanh       ? 2
                      : layer.rho == Rho::logistic ? layer.gain * layer.gain * layer.gain / 8
                      : layer.rho == Rho::softplus
                          ? layer.gain * layer.gain / (6 * 1.7320508075688772)
                          : 0;
  const double steep = layer.rho == Rho::logistic ? layer.gain : 1;
  const double saturated =
      layer.rho == Rho::clip ? 0 : 4 * steep * std::numeric_limits<T>::epsilon();
  return {layer.rho,
          legendre,
          T(layer.gain),
          T(layer.shift),
          T(layer.lower / signal_gain),
          T(layer.upper / signal_gain),
          T(signal_gain),
          T(legendre ? layer.gain : 1),
          T(bend),
          T(saturated)};
}

/// A coupling of a free layer with the input.
struct InputCoupling {
  int layer;  ///< free layer, numbered from 0
  std::ptrdiff_t weights;
  bool is_source;  ///< the input is the source: W is (layer, input), otherwise (input, layer)
};

/// Sizes of a network and of its device memory.
struct Sizes {
  explicit Sizes(const NetworkFields& network)
      : inputs(static_cast<std::size_t>(network.layers.front().units)),
        outputs(static_cast<std::size_t>(network.layers.back().units)),
        parameters(static_cast<std::size_t>(network.parameters)) {
    for (std::size_t k = 1; k < network.layers.size(); ++k)
      units += static_cast<std::size_t>(network.layers[k].units);
  }
  std::size_t inputs, outputs, parameters, units = 0;

  /// Numbers for each sample: input, targets, weight, drive, states, factors of gradients and their sum.
  std::size_t per_sample() const {
    return inputs + outputs + 1 + units * (1 + slots + 2 * most_nodes + 1);
  }
};

}  // namespace

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

template <class T>
std::size_t memory_of(const NetworkFields& network, std::size_t most) {
  const Sizes sizes(network);
  const std::size_t report = most_nodes * (1 + sizeof(int) + 2 * sizeof(T));
  return sizeof(T) * (3 * sizes.parameters + most * sizes.per_sample()) + most * report;
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
            " samples: an allocation of " + std::to_string(failure.bytes) +
            " bytes failed. Use a batch of at most " + std::to_string(fit) + " samples. Received " +
            std::to_string(free) + " free bytes of " + std::to_string(total) + ".",
        fit);
  }
}

}  // namespace

template <class T>
struct Engine<T>::Device {
  Device(const NetworkFields& fields, std::size_t most_samples, const Cut& how)
      : network(fields),
        sizes(fields),
        cut(possible(how)),
        most(most_samples),
        theta(sizes.parameters, stream),
        transposed(sizes.parameters, stream),
        gradient(sizes.parameters, stream),
        x(sizes.inputs * most, stream),
        y(sizes.outputs * most, stream),
        sample_weights(most, stream),
        drive(sizes.units * most, stream),
        states(sizes.units * most * slots, stream),
        left(sizes.units * most * most_nodes, stream),
        right(sizes.units * most * most_nodes, stream),
        sum(sizes.units * most, stream),
        status(most * most_nodes, stream),
        iterations(most * most_nodes, stream),
        residual(most * most_nodes, stream),
        error(most * most_nodes, stream),
        flags(flag_blocks, stream) {
    describe();
  }

  // ---- structure

  /// Returns the division of launches on a device that may have no clusters.
  static Cut possible(Cut cut) {
    int device = 0, clusters = 0;
    check(cudaGetDevice(&device), "the choice of a device");
    check(cudaDeviceGetAttribute(&clusters, cudaDevAttrClusterLaunch, device),
          "a query of the device");
    if (clusters == 0) cut.cluster = 1;
    return cut;
  }
  static std::size_t shared_limit() {
    int device = 0, bytes = 0;
    check(cudaGetDevice(&device), "the choice of a device");
    check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
          "a query of the device");
    return static_cast<std::size_t>(bytes);
  }

  void describe() {
    view.layers = static_cast<int>(network.layers.size()) - 1;
    view.units = static_cast<int>(sizes.units);
    view.outputs = static_cast<int>(sizes.outputs);
    int begin = 0;
    for (int k = 0; k < view.layers; ++k) {
      LayerView<T>& layer = view.layer[k];
      layer.rho = units_of<T>(network.layers[k + 1], network.legendre);
      layer.units = network.layers[k + 1].units;
      layer.begin = begin;
      begin += layer.units;
      if (!network.legendre && (layer.rho.rho != Rho::clip || network.layers[k + 1].gain != 1))
        view.own_signals = true;
    }
    int pulls = 0;
    for (int k = 0; k < view.layers; ++k) pulls = add_pulls(k, pulls);
    for (const auto& block : network.blocks) {
      for (const int k : block) view.order[ordered++] = k;
      view.block_end[view.blocks++] = ordered;
    }
    for (const CouplingFields& c : network.couplings) {
      if (c.source == 0) from_input.push_back({c.target - 1, c.weights, true});
      if (c.target == 0) from_input.push_back({c.source - 1, c.weights, false});
    }
  }
  /// Adds the pulls of all neighbours on free layer k from number `pulls` on.
  int add_pulls(int k, int pulls) {
    LayerView<T>& layer = view.layer[k];
    layer.first_pull = pulls;
    const auto add = [&](int other, const T* by_unit, const T* by_depth) {
      const LayerView<T>& neighbour = view.layer[other - 1];
      view.pull[pulls++] = {neighbour.begin, neighbour.units, by_unit, by_depth};
      layer.depth += neighbour.units;
    };
    for (const CouplingFields& c : network.couplings) {
      if (c.source == 0 || c.target == 0) continue;
      if (c.target == k + 1) add(c.source, theta.data() + c.weights, transposed.data() + c.weights);
      if (c.source == k + 1)
        add(c.target, transposed.data() + c.feedback, theta.data() + c.feedback);
    }
    layer.pulls = pulls - layer.first_pull;
    return pulls;
  }
  int output_block() const {
    int n = 0;
    while (view.order[n] != view.layers - 1) ++n;
    int b = 0;
    while (n >= view.block_end[b]) ++b;
    return b;
  }
  /// Returns the number of weights of the couplings between free layers.
  std::size_t inner_weights() const {
    std::size_t count = 0;
    for (const CouplingFields& c : network.couplings)
      if (c.source != 0 && c.target != 0) count += weights_of(c);
    return count;
  }
  std::size_t weights_of(const CouplingFields& c) const {
    return static_cast<std::size_t>(network.layers[c.source].units) *
           network.layers[c.target].units;
  }

  // ---- copies

  template <class U>
  void send(U* to, const U* from, std::size_t count) const {
    check(cudaMemcpyAsync(to, from, count * sizeof(U), cudaMemcpyDefault, stream), "a copy");
  }
  void wait() const { check(cudaStreamSynchronize(stream), "the work on the device"); }
  template <class U>
  void fetch(U* to, const U* from, std::size_t count) const {
    send(to, from, count);
    wait();
  }
  T* slot(std::size_t number) const { return states.data() + number * sizes.units * batch; }

  // ---- launches

  template <class... Parameters, class... Arguments>
  void run(const char* what, void (*kernel)(Parameters...), const Shape& shape,
           const Arguments&... arguments) const {
    check(launch(kernel, shape, stream, arguments...), what);
  }
  static Shape elementwise(std::size_t count) {
    return {dim3(static_cast<unsigned>(
                ceiling(static_cast<std::ptrdiff_t>(count), elementwise_threads))),
            elementwise_threads};
  }

  /// out = sum over k of a b, for a depth that is divided into `chunk`s, by one block each if `split`.
  void multiply(const char* what, int rows, int columns, int depth, int chunk, bool split,
                const Strided<T>& a, const Strided<T>& b, const Target<T>& out) const {
    const bool narrow = ceiling(rows, 64) * ceiling(columns, 64) < 66;
    const int side = narrow ? 32 : 64;
    const unsigned z = split ? static_cast<unsigned>(ceiling(depth, chunk)) : 1;
    const Shape shape{dim3(static_cast<unsigned>(ceiling(rows, side)),
                           static_cast<unsigned>(ceiling(columns, side)), z),
                      product_threads, dim3(1, 1, z), product_shared<T>(side)};
    run(what, narrow ? &product<T, 2> : &product<T, 4>, shape, rows, columns, depth, chunk, a, b,
        out);
  }

  void transpose_weights() const {
    for (const CouplingFields& c : network.couplings) {
      if (c.source == 0 || c.target == 0) continue;
      turn(c, c.weights);
      if (c.feedback != c.weights) turn(c, c.feedback);
    }
  }
  void turn(const CouplingFields& c, std::ptrdiff_t at) const {
    run("the transposition of weights", &transpose<T>, elementwise(weights_of(c)),
        network.layers[c.target].units, network.layers[c.source].units, theta.data() + at,
        transposed.data() + at);
  }

  /// drive = biases + W x. The sum is divided in four; if there are few tiles, four blocks compute one tile.
  void compute_drive() const {
    const auto stride = static_cast<std::ptrdiff_t>(sizes.units);
    const int inputs = static_cast<int>(sizes.inputs), columns = static_cast<int>(batch);
    for (int k = 0; k < view.layers; ++k) {
      const LayerView<T>& layer = view.layer[k];
      const T* bias = theta.data() + network.biases[k];
      T* out = drive.data() + layer.begin;
      const auto driven = std::find_if(from_input.begin(), from_input.end(),
                                       [&](const InputCoupling& c) { return c.layer == k; });
      if (driven == from_input.end()) {
        run("the drive", &repeat<T>, elementwise(layer.units * batch), layer.units, columns, stride,
            bias, out);
        continue;
      }
      const int chunk = ceiling(ceiling(inputs, 4), tile_depth) * tile_depth;
      const bool split = cut.cluster != 1 && ceiling(inputs, chunk) == 4 &&
                         ceiling(layer.units, 64) * ceiling(columns, 64) < 66;
      multiply("the drive by the input", layer.units, columns, inputs, chunk, split,
               weights_by_layer(*driven), Strided<T>{x.data(), inputs, 1},
               Target<T>{out, stride, T(1), bias, false});
    }
  }
  /// The weights of a coupling with the input, (layer, input).
  Strided<T> weights_by_layer(const InputCoupling& c) const {
    const std::ptrdiff_t units = view.layer[c.layer].units, inputs = network.layers[0].units;
    const T* w = theta.data() + c.weights;
    return c.is_source ? Strided<T>{w, 1, units} : Strided<T>{w, inputs, 1};
  }

  // ---- relaxation

  /// Chooses the tile and the cluster of a launch for `samples` samples, so that `bytes` fit.
  template <class Bytes>
  std::pair<int, int> division(std::size_t samples, const Bytes& bytes) const {
    constexpr std::size_t weights_of_one_block = std::size_t{1} << 15;
    const int ranks = cut.cluster > 0                          ? cut.cluster
                      : inner_weights() > weights_of_one_block ? 8
                                                               : 1;
    int tile = cut.tile > 0 ? cut.tile : samples * static_cast<std::size_t>(ranks) <= 264 ? 1 : 8;
    const std::size_t limit = shared_limit();
    while (tile > 1 && bytes(tile, ranks) > limit) tile = tile == 8 ? 4 : 1;
    require(bytes(tile, ranks) <= limit, "cuda",
            "The state of one sample fits into the shared memory of a block, " +
                std::to_string(limit) + " bytes.",
            view.units, " units");
    return {tile, ranks};
  }
  Shape tiles(std::size_t samples, int tile, int ranks, std::size_t bytes) const {
    const auto clusters =
        static_cast<unsigned>(ceiling(static_cast<std::ptrdiff_t>(samples), tile));
    return {dim3(clusters * static_cast<unsigned>(ranks)),
            static_cast<unsigned>(cut.threads > 0 ? cut.threads : most_threads),
            dim3(static_cast<unsigned>(ranks)), bytes};
  }

  void relax_phase(Phase<T>& phase, const SolverFields& solver) const {
    phase.batch = static_cast<int>(batch);
    phase.drive = drive.data();
    phase.method = solver.method;
    phase.number = T(solver.number);
    phase.tolerance = T(solver.tolerance);
    phase.limit = solver.limit;
    phase.status = status.data();
    phase.iterations = iterations.data();
    phase.residual = residual.data();
    phase.error = error.data();
    const std::size_t samples = batch * static_cast<std::size_t>(phase.nodes);
    const auto bytes = [&](int tile, int ranks) {
      return tile == 1   ? RelaxThread<T, 1>::bytes(view, ranks, solver.method)
             : tile == 4 ? RelaxThread<T, 4>::bytes(view, ranks, solver.method)
                         : RelaxThread<T, 8>::bytes(view, ranks, solver.method);
    };
    const auto [tile, ranks] = division(samples, bytes);
    const auto kernel = tile == 1   ? &cuda::relax<T, 1>
                        : tile == 4 ? &cuda::relax<T, 4>
                                    : &cuda::relax<T, 8>;
    run("a relaxation", kernel, tiles(samples, tile, ranks, bytes(tile, ranks)), view, phase);
  }
  Outcome report(std::size_t nodes) const {
    const std::size_t count = nodes * batch;
    Outcome outcome{std::vector<signed char>(count), std::vector<int>(count),
                    std::vector<double>(count), std::vector<double>(count)};
    std::vector<T> residuals(count), errors(count);
    send(outcome.status.data(), status.data(), count);
    send(outcome.iterations.data(), iterations.data(), count);
    send(residuals.data(), residual.data(), count);
    send(errors.data(), error.data(), count);
    wait();
    std::copy(residuals.begin(), residuals.end(), outcome.residual.begin());
    std::copy(errors.begin(), errors.end(), outcome.error.begin());
    return outcome;
  }
  CostView<T> cost_view() const { return {y.data(), T(cost.logit_scale)}; }

  // ---- gradients

  Terms<T> terms_at(std::size_t first) const {
    Terms<T> terms{};
    terms.states = slot(first);
    terms.of_samples = weighted ? sample_weights.data() : nullptr;
    terms.units = view.units;
    terms.batch = static_cast<int>(batch);
    terms.nodes = 1;
    terms.left = left.data();
    terms.right = right.data();
    terms.sum = sum.data();
    return terms;
  }
  Strided<T> factor(const Array<T>& of, int k, int plane = 0) const {
    return {of.data() + view.layer[k].begin + plane * sizes.units * batch, 1,
            static_cast<std::ptrdiff_t>(sizes.units)};
  }
  /// Sums the outer products of `planes` planes, from `plane` on, into the gradient of weights at `at`.
  void sum_weights(const CouplingFields& c, std::ptrdiff_t at, int plane, int planes) const {
    const int target = c.target - 1, source = c.source - 1;
    const int rows = view.layer[target].units;
    multiply("the gradient of weights", rows, view.layer[source].units,
             planes * static_cast<int>(batch), 512, false, factor(left, target, plane),
             factor(right, source, plane),
             Target<T>{gradient.data() + at, rows, T(-1), nullptr, false});
  }
  void sum_input_weights(const InputCoupling& c) const {
    const int units = view.layer[c.layer].units, inputs = static_cast<int>(sizes.inputs);
    const Strided<T> of_units = factor(sum, c.layer), of_input{x.data(), 1, inputs};
    T* out = gradient.data() + c.weights;
    const int depth = static_cast<int>(batch);
    if (c.is_source)
      multiply("the gradient of weights", units, inputs, depth, 512, false, of_units, of_input,
               Target<T>{out, units, T(-1), nullptr, false});
    else
      multiply("the gradient of weights", inputs, units, depth, 512, false, of_input, of_units,
               Target<T>{out, inputs, T(-1), nullptr, false});
  }
  /// Computes the gradient from the factors: `planes` of a contrast, or the two planes of a mixed derivative.
  void sum_gradient(int planes, bool mixed) const {
    for (const CouplingFields& c : network.couplings) {
      if (c.source == 0 || c.target == 0) continue;
      const bool separate = c.feedback != c.weights;
      sum_weights(c, c.weights, 0, mixed && separate ? 1 : planes);
      if (mixed && separate) sum_feedback(c);
    }
    for (const InputCoupling& c : from_input) sum_input_weights(c);
    for (int k = 0; k < view.layers; ++k)
      run("the gradient of biases", &sum_rows<T>, elementwise(view.layer[k].units),
          view.layer[k].units, static_cast<int>(batch), factor(sum, k),
          gradient.data() + network.biases[k]);
  }
  /// The feedback weights B (target, source) pull on the source, whose part of v is the second factor of plane 1.
  void sum_feedback(const CouplingFields& c) const { sum_weights(c, c.feedback, 1, 1); }

  // ---- updates

  void take_averages(bool adam, bool momentum) {
    const auto fresh = [&](std::optional<Array<T>>& average, bool wanted) {
      if (!wanted) average.reset();
      if (!wanted || average) return;
      average.emplace(sizes.parameters, stream);
      check(cudaMemsetAsync(average->data(), 0, sizes.parameters * sizeof(T), stream), "a reset");
    };
    if (second.has_value() != adam) first.reset();  // the mean of Adam is no velocity
    fresh(first, adam || momentum);
    fresh(second, adam);
  }

  NetworkFields network;
  Sizes sizes;
  Cut cut;
  std::size_t most, batch = 0;
  Stream stream;  // before the memory in its order
  Array<T> theta, transposed, gradient, x, y, sample_weights, drive, states, left, right, sum;
  Array<signed char> status;
  Array<int> iterations;
  Array<T> residual, error;
  Array<int> flags;
  std::optional<Array<T>> first, second;  // averages of an optimiser
  std::vector<InputCoupling> from_input;
  NetworkView<T> view{};
  CostFields cost;
  bool weighted = false;
  int ordered = 0;
};

template <class T>
Engine<T>::Engine(const NetworkFields& network, std::size_t most, const Cut& cut) {
  check_supported(network);
  const std::string reason = why_unavailable();
  if (!reason.empty()) throw DeviceError(reason);
  within_memory<T>(network, most, [&] { device_ = std::make_unique<Device>(network, most, cut); });
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
  device_->send(device_->x.data(), x, device_->sizes.inputs * batch);
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
Outcome Engine<T>::relax_free(const SolverFields& solver, std::size_t to) {
  Phase<T> phase{};
  phase.nodes = 1;
  phase.state = device_->slot(to);
  device_->relax_phase(phase, solver);
  return device_->report(1);
}
template <class T>
Outcome Engine<T>::relax(const SolverFields& solver, std::span<const double> betas,
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
  device_->relax_phase(phase, solver);
  return device_->report(betas.size());
}

template <class T>
Outcome Engine<T>::solve(double tolerance, int limit, std::size_t at, std::size_t lambda) {
  const Device& d = *device_;
  require(d.network.tied, "cuda", "Conjugate gradients need a symmetric Hessian: tied weights.",
          "separate feedback weights");
  const double vanishing =
      std::sqrt(double{std::numeric_limits<T>::min()}) / std::numeric_limits<T>::epsilon();
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
  return d.report(1);
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
bool Engine<T>::gradient_is_finite() {
  const Shape shape{dim3(flag_blocks), elementwise_threads, dim3(1),
                    sizeof(int) * elementwise_threads};
  device_->run("a test of the gradient", &find_not_finite<T>, shape,
               static_cast<std::ptrdiff_t>(device_->sizes.parameters), device_->gradient.data(),
               device_->flags.data());
  int flags[flag_blocks];
  device_->fetch(flags, device_->flags.data(), flag_blocks);
  return std::all_of(flags, flags + flag_blocks, [](int flag) { return flag == 0; });
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
  check(cudaMemsetAsync(result.data(), 0, result.size() * sizeof(T), d.stream), "a reset");
  for (const InputCoupling& c : d.from_input) {
    const Strided<T> w = d.weights_by_layer(c), of_units = d.factor(d.sum, c.layer);
    d.multiply("the derivative by the input", inputs, batch, d.view.layer[c.layer].units, 512,
               false, Strided<T>{w.data, w.column, w.row},
               Strided<T>{of_units.data, of_units.column, 1},
               Target<T>{result.data(), inputs, T(-1), nullptr, true});
  }
  d.fetch(out, result.data(), result.size());
}

template <class T>
void Engine<T>::update(const UpdateFields& step) {
  Device& d = *device_;
  require(!step.rates.empty() && step.rates.size() <= most_rates, "cuda",
          "An optimiser has 1 to 64 learning rates.", step.rates.size());
  within_memory<T>(d.network, d.most, [&] { d.take_averages(step.adam, step.momentum != 0); });
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
  d.run("a step of the optimiser", &descend<T>, Device::elementwise(d.sizes.parameters), view);
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

template std::size_t memory_of<float>(const NetworkFields&, std::size_t);
template std::size_t memory_of<double>(const NetworkFields&, std::size_t);
template class Engine<float>;
template class Engine<double>;

}  // namespace equiprop::cuda
