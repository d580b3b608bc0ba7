#pragma once
/// The memory of an engine on a device, and the order of launches.

#include <algorithm>
#include <optional>

#include "conjugate.cuh"
#include "equiprop/base/error.hpp"
#include "image_device.cuh"
#include "memory.hpp"
#include "product_launch.cuh"
#include "run_memory.cuh"
#include "structure.cuh"
#include "update.cuh"

namespace equiprop::cuda {

constexpr unsigned flag_blocks = 64;
constexpr int gradient_chunk = 512;  ///< terms of a chunk of a sum over the batch

inline int ceiling(std::ptrdiff_t a, int b) {
  return static_cast<int>((a + b - 1) / b);
}

template <class T>
struct Engine<T>::Device : Structure<T> {
  using Structure<T>::from_input, Structure<T>::network, Structure<T>::sizes, Structure<T>::view;

  Device(const NetworkFields& fields, std::size_t most_samples, const Cut& how, Precision rounding)
      : Structure<T>(fields),
        cut(possible(how)),
        precision(rounding),
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
    if (network.channels_first) arrived.emplace(sizes.inputs * most, stream);
    if (!network.has_images()) {
      this->describe(theta.data(), transposed.data());
      return;
    }
    this->describe_layers();
    images.emplace(network, most, cut, stream, image_places());
  }
  ImagePlaces<T> image_places() const {
    return {theta.data(),  x.data(),          y.data(),        gradient.data(),
            drive.data(),  left.data(),       right.data(),    sum.data(),
            status.data(), iterations.data(), residual.data(), error.data()};
  }

  /// Returns the division of launches on a device that may have no clusters.
  static Cut possible(Cut cut) {
    if (attribute(cudaDevAttrClusterLaunch) == 0) cut.cluster = 1;
    return cut;
  }
  static int attribute(cudaDeviceAttr which) {
    int device = 0, value = 0;
    check(cudaGetDevice(&device), "the choice of a device");
    check(cudaDeviceGetAttribute(&value, which, device), "a query of the device");
    return value;
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
  /// Copies an input, and puts it in the order of the units.
  void send_input(const T* from) const {
    const std::size_t count = sizes.inputs * batch;
    send(arrived ? arrived->data() : x.data(), from, count);
    if (arrived) order_input(arrived->data(), x.data(), false);
  }
  /// Copies an array (inputs, batch) in the order of the units to the host, in the order of inputs.
  void fetch_input(T* to, const T* from) const {
    if (arrived) order_input(from, arrived->data(), true);
    fetch(to, arrived ? arrived->data() : from, sizes.inputs * batch);
  }
  void order_input(const T* from, T* to, bool back) const {
    const LayerFields& input = network.layers.front();
    const int positions = input.height * input.width;
    const std::size_t count = sizes.inputs * batch;
    run("the order of an input", &reorder<T>, elementwise(count), input.units / positions,
        positions, static_cast<std::ptrdiff_t>(count), from, to, back);
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

  /// Computes products in one launch, or in several if there are more than `most_products`.
  void multiply(const char* what, std::vector<Product<T>> products) const {
    const Launcher<T> launcher{precision, cut.side, cut.cluster != 1};
    for (std::size_t first = 0; first < products.size(); first += most_products) {
      Products<T> together{};
      for (std::size_t n = first; n < std::min(products.size(), first + most_products); ++n)
        together.of[together.count++] = products[n];
      check(launcher.launch(together, stream), what);
    }
  }

  void transpose_weights() const {
    if (images) return images->pack();
    for (const CouplingFields& c : network.couplings) {
      if (c.source == 0 || c.target == 0) continue;
      turn(c, c.weights);
      if (c.feedback != c.weights) turn(c, c.feedback);
    }
  }
  void turn(const CouplingFields& c, std::ptrdiff_t at) const {
    run("the transposition of weights", &transpose<T>, elementwise(this->weights_of(c)),
        network.layers[c.target].units, network.layers[c.source].units, theta.data() + at,
        transposed.data() + at);
  }

  /// drive = biases + W x, with a sum that is divided in four.
  void compute_drive() const {
    if (images) return images->compute_drive(batch);
    const auto stride = static_cast<std::ptrdiff_t>(sizes.units);
    const int inputs = static_cast<int>(sizes.inputs), columns = static_cast<int>(batch);
    const int chunk = ceiling(ceiling(inputs, 4), tile_depth) * tile_depth;
    std::vector<Product<T>> products;
    for (int k = 0; k < view.layers; ++k) {
      const LayerView<T>& layer = view.layer[k];
      const Strided<T> of_input{x.data(), inputs, 1};
      const Target<T> out{drive.data() + layer.begin, stride, T(1),
                          theta.data() + network.biases[k], false};
      const auto driven = std::find_if(from_input.begin(), from_input.end(),
                                       [&](const InputCoupling& c) { return c.layer == k; });
      if (driven == from_input.end())
        products.push_back({layer.units, columns, 0, chunk, of_input, of_input, out});
      else
        products.push_back(
            {layer.units, columns, inputs, chunk, weights_by_layer(*driven), of_input, out});
    }
    multiply("the drive by the input", std::move(products));
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
    const int ranks = cut.cluster > 0                                ? cut.cluster
                      : this->inner_weights() > weights_of_one_block ? 8
                                                                     : 1;
    const auto blocks = [&](std::size_t tile) {
      return (samples + tile - 1) / tile * static_cast<std::size_t>(ranks);
    };
    // The smallest tile for which all blocks are resident at the same time, on 132 multiprocessors.
    int tile = cut.tile > 0 ? cut.tile : blocks(1) <= 264 ? 1 : blocks(4) <= 132 ? 4 : 8;
    const auto limit = static_cast<std::size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin));
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

  void relax_phase(Phase<T>& phase, const SolverFields& solver) {
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
    if (images) return images->relax(phase, solver);
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
    return report({status.data(), iterations.data(), residual.data(), error.data()}, nodes);
  }
  Outcome report(const PhaseReport<T>& of, std::size_t nodes) const {
    const std::size_t count = nodes * batch;
    Outcome outcome{std::vector<signed char>(count), std::vector<int>(count),
                    std::vector<double>(count), std::vector<double>(count)};
    std::vector<T> residuals(count), errors(count);
    send(outcome.status.data(), of.status, count);
    send(outcome.iterations.data(), of.iterations, count);
    send(residuals.data(), of.residual, count);
    send(errors.data(), of.error, count);
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
  /// The sum of outer products of `planes` planes, from `plane` on: the gradient of weights at `at`.
  Product<T> sum_weights(const CouplingFields& c, std::ptrdiff_t at, int plane, int planes) const {
    const int target = c.target - 1, source = c.source - 1, rows = view.layer[target].units;
    return {rows,
            view.layer[source].units,
            planes * static_cast<int>(batch),
            gradient_chunk,
            factor(left, target, plane),
            factor(right, source, plane),
            {gradient.data() + at, rows, T(-1), nullptr, false}};
  }
  Product<T> sum_input_weights(const InputCoupling& c) const {
    const int units = view.layer[c.layer].units, inputs = static_cast<int>(sizes.inputs);
    const Strided<T> of_units = factor(sum, c.layer), of_input{x.data(), 1, inputs};
    const int rows = c.is_source ? units : inputs, columns = c.is_source ? inputs : units;
    return {rows,
            columns,
            static_cast<int>(batch),
            gradient_chunk,
            c.is_source ? of_units : of_input,
            c.is_source ? of_input : of_units,
            {gradient.data() + c.weights, rows, T(-1), nullptr, false}};
  }
  Product<T> sum_biases(int k) const {
    const Strided<T> of_units = factor(sum, k);
    return {view.layer[k].units,
            0,
            static_cast<int>(batch),
            gradient_chunk,
            of_units,
            of_units,
            {gradient.data() + network.biases[k], 0, T(-1), nullptr, false}};
  }
  /// Computes the gradient from the factors: `planes` of a contrast, or the two planes of a mixed derivative. Feedback
  /// weights B (target, source) pull on the source, whose part of a mixed derivative is the second factor of plane 1.
  void sum_gradient(int planes, bool mixed) const {
    if (images) return images->sum_gradient(planes, mixed, batch);
    std::vector<Product<T>> products;
    for (const CouplingFields& c : network.couplings) {
      if (c.source == 0 || c.target == 0) continue;
      const bool two = mixed && c.feedback != c.weights;
      products.push_back(sum_weights(c, c.weights, 0, two ? 1 : planes));
      if (two) products.push_back(sum_weights(c, c.feedback, 1, 1));
    }
    for (const InputCoupling& c : from_input) products.push_back(sum_input_weights(c));
    for (int k = 0; k < view.layers; ++k) products.push_back(sum_biases(k));
    multiply("the gradient", std::move(products));
  }

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

  RunMemory<T>& memory_of_runs() {
    if (!run_memory) run_memory.emplace(most, stream);
    return *run_memory;
  }

  Cut cut;
  Precision precision;
  std::size_t most, batch = 0;
  Stream stream;  // before the memory in its order
  Array<T> theta, transposed, gradient, x, y, sample_weights, drive, states, left, right, sum;
  Array<signed char> status;
  Array<int> iterations;
  Array<T> residual, error;
  Array<int> flags;
  std::optional<Array<T>> first, second;  // averages of an optimiser
  std::optional<RunMemory<T>> run_memory;
  std::optional<Array<T>> arrived;  // inputs in the order in which they arrive
  std::optional<ImageDevice<T>> images;
  CostFields cost;
  bool weighted = false;
};

}  // namespace equiprop::cuda
