#pragma once
/// Phases and gradients of a network with images: the order of launches.

#include <array>
#include <map>

#include "image_launch.cuh"

namespace equiprop::cuda {

/// Memory of an engine that a network with images uses.
template <class T>
struct ImagePlaces {
  const T *theta, *x, *y;
  T *gradient, *drive, *left, *right, *sum;
  signed char* status;
  int* iterations;
  T *residual, *error;
};

template <class T>
class ImageDevice : ImageLauncher<T> {
  using Base = ImageLauncher<T>;
  using Base::all_layers, Base::block_for_each, Base::cut_, Base::flat, Base::memory_,
      Base::one_block, Base::pass_of, Base::plan, Base::run, Base::run_before, Base::run_jobs,
      Base::stream_;
  using typename Base::Layers;

 public:
  ImageDevice(const NetworkFields& network, std::size_t most, const Cut& cut, cudaStream_t stream,
              const ImagePlaces<T>& places)
      : Base(network, most, cut, stream), places_(places) {}

  /// Packs the weights in theta; to be called after each change of them.
  void pack() const {
    for (const ImageCoupling<T>& c : plan().couplings)
      if (c.size > 0)
        run("packing weights", &pack_weights<T>, flat(c.size), c.weights,
            places_.theta + c.fields.weights, places_.theta + c.fields.feedback,
            memory_.packed.data() + c.up, memory_.packed.data() + c.down);
  }

  /// drive = biases + the pulls of x, (units, batch).
  void compute_drive(std::size_t batch) const {
    ImagePass<T> pass = pass_of(memory_.from_input, places_.x, static_cast<int>(batch));
    run_before(pass, memory_.of_input, memory_.drive_jobs, all_layers(memory_.of_input));
    pass.finish = Finish::drive;
    pass.factor = 1;
    pass.biases = places_.theta;
    std::copy(plan().network.biases.begin(), plan().network.biases.end(), pass.bias);
    pass.out = places_.drive;
    pass.out_stride = plan().units;
    run_jobs("the drive", pass, memory_.of_input, all_layers(memory_.of_input));
  }

  /// Relaxes from the state `start` (units, batch), or from rest, to `to`, (units, nodes * batch).
  void relax(const Phase<T>& phase, const SolverFields& solver) {
    const int samples = phase.batch * phase.nodes;
    const bool nudged = phase.cost.y != nullptr;
    send(settings_of(phase, solver));
    const ImagePhase<T> images = phase_of(samples);
    begin(images);
    const Steps steps{images, solver.method, phase.first_block, nudged,
                      nudged && phase.cost.logit_scale != 0};
    find_winners(memory_.signals_or_state(), samples);
    if (steps.shares) share(images);
    if (solver.limit == 0)
      confirm(steps, {}, false);
    else
      loop(steps, phase).launch();
    run("the end of a relaxation", &end_images<T>, flat(std::size_t(samples) * plan().units),
        images, phase.state, places_.status, places_.iterations);
  }

  /// Solves A lambda = dC/ds at the state `at`, (units, batch). `vanishing` is the residual that counts as 0.
  void solve(const CostView<T>& cost, const SolverFields& solver, T vanishing, const T* at,
             T* lambda, std::size_t batch) {
    Phase<T> phase{};
    phase.batch = static_cast<int>(batch);
    phase.nodes = 1;
    phase.cost = cost;
    phase.start = at;
    ImageSettings<T> settings = settings_of(phase, solver);
    settings.number = vanishing;
    send(settings);
    const ImageSide<T> side = side_of(phase.batch, lambda);
    begin(side.phase);
    const bool shares = cost.logit_scale != 0;
    if (shares) share(side.phase);
    ImagePass<T> pass = solving(side, side.phase.signals, Finish::linearize);
    update(pass, all_layers(memory_.of_inner));
    const Shape blocks = block_for_each(phase.batch);
    run("the start of conjugate gradients", &begin_side<T>, blocks, side);
    if (solver.limit > 0) side_loop(side).launch();
    run("the end of conjugate gradients", &end_side<T>, blocks, side);
  }

  /// Computes the gradient from the factors; see Terms. `planes` is the number of nodes, or 2 of a mixed derivative.
  void sum_gradient(int planes, bool mixed, std::size_t batch) const {
    const int samples = static_cast<int>(batch), all = planes * samples;
    const int winner_samples = mixed ? samples : all;
    find_winners(places_.right, winner_samples);
    for (std::size_t n = 0; n < plan().couplings.size(); ++n) {
      const ImageCoupling<T>& c = plan().couplings[n];
      if (c.size == 0) continue;
      ImageFactors<T> factors = factors_of(n, winner_samples);
      if (!c.inner()) {
        sum_weights(c, factors, samples, c.fields.weights);
      } else if (mixed && c.separate()) {
        sum_weights(c, factors, samples, c.fields.weights);
        factors.above += std::size_t(plan().units) * batch;
        factors.below += std::size_t(plan().units) * batch;
        sum_weights(c, factors, samples, c.fields.feedback);
      } else {
        sum_weights(c, factors, all, c.fields.weights);
      }
    }
    for (std::size_t k = 0; k < plan().begins.size(); ++k) sum_biases(k, samples);
  }

  /// out (inputs, batch) = the derivative by the input that belongs to the last gradient.
  void derive_by_input(std::size_t batch, T* out) const {
    ImagePass<T> pass = pass_of(memory_.to_input, places_.sum, static_cast<int>(batch));
    run_before(pass, memory_.of_layers, memory_.input_jobs, {0});
    pass.finish = Finish::drive;
    pass.factor = -1;
    pass.bias[0] = -1;
    pass.out = out;
    pass.out_stride = plan().network.layers[0].units;
    run_jobs("the derivative by the input", pass, memory_.of_layers, {0});
  }

 private:
  static constexpr std::size_t most_loops = 16;  ///< graphs that are kept

  /// Arguments on which the kernels of a loop depend.
  struct Steps {
    ImagePhase<T> phase;
    Method method;
    int first_block;
    bool nudged, shares;
  };

  // ---- relaxation

  void send(const ImageSettings<T>& settings) const {
    check(cudaMemcpyAsync(memory_.settings.data(), &settings, sizeof(settings), cudaMemcpyDefault,
                          stream_),
          "a copy");
  }
  void begin(const ImagePhase<T>& phase) const {
    run("the start of a relaxation", &begin_images<T>,
        flat(std::size_t(phase.samples) * plan().units), phase);
  }
  ImagePhase<T> phase_of(int samples) const {
    return {memory_.inner.data(),
            memory_.settings.data(),
            samples,
            plan().network.layers.back().units,
            places_.drive,
            places_.y,
            memory_.state.data(),
            memory_.signals_or_state(),
            memory_.next.data(),
            memory_.shares.data(),
            memory_.progress.data(),
            memory_.change.data(),
            places_.residual,
            places_.error};
  }
  static ImageSettings<T> settings_of(const Phase<T>& phase, const SolverFields& solver) {
    ImageSettings<T> settings{};
    settings.batch = phase.batch;
    settings.nodes = phase.nodes;
    settings.nudged = phase.cost.y != nullptr;
    settings.method = solver.method;
    std::copy(phase.beta, phase.beta + phase.nodes, settings.beta);
    settings.logit_scale = phase.cost.logit_scale;
    settings.number = T(solver.number);
    const T rate = solver.method == Method::fixed_point ? T(1) - settings.number
                   : solver.method == Method::euler     ? settings.number
                                                        : T(1);
    settings.stopping = {T(solver.tolerance), rate, solver.limit};
    settings.start = phase.start;
    return settings;
  }

  /// Returns the graph of a relaxation, which depends on the batch, the nodes and the kind of solver and cost.
  const Loop& loop(const Steps& steps, const Phase<T>& phase) {
    const std::array<int, 6> key{phase.batch,       phase.nodes,  static_cast<int>(steps.method),
                                 steps.first_block, steps.nudged, steps.shares};
    if (loops_.size() >= most_loops && loops_.count(key) == 0) loops_.clear();
    return loops_
        .try_emplace(
            key, stream_, [&](const LoopHandles& handles) { sweep(steps, handles); },
            [&](const LoopHandles& handles) { confirm(steps, handles, true); })
        .first->second;
  }
  void sweep(const Steps& steps, const LoopHandles& handles) const {
    ImagePass<T> pass = relaxing(steps, stepping);
    const auto& blocks = plan().network.blocks;
    if (steps.method == Method::block_update) {
      pass.finish = Finish::update;
      for (std::size_t turn = 0; turn < blocks.size(); ++turn)
        update(pass, blocks[(steps.first_block + turn) % blocks.size()]);
    } else {
      pass.finish = Finish::step;
      update(pass, all_layers(memory_.of_inner));
      run("a step", &take_images<T>, flat(std::size_t(pass.samples) * plan().units), steps.phase);
    }
    if (steps.shares) share(steps.phase);
    run("the end of a step", &end_step<T>, one_block(), steps.phase, handles);
  }
  /// Measures the residuals of the samples whose last change was small.
  void confirm(const Steps& steps, const LoopHandles& handles, bool loops) const {
    ImagePass<T> pass = relaxing(steps, to_confirm);
    pass.finish = Finish::measure;
    const auto& blocks = plan().network.blocks;
    const std::size_t last = (steps.first_block + blocks.size() - 1) % blocks.size();
    Layers layers;
    for (std::size_t b = 0; b < blocks.size(); ++b)
      for (const int k : blocks[b])
        if (!loops || b != last || !settled(steps, k)) layers.push_back(k);
    run_before(pass, memory_.of_inner, memory_.inner_jobs, all_layers(memory_.of_inner));
    run_jobs("the residuals", pass, memory_.of_inner, layers);
    run("the residuals", &conclude_step<T>, one_block(), steps.phase, handles, loops);
  }
  /// Returns true if the last update of a sweep made the residual of a layer 0.
  bool settled(const Steps& steps, int k) const {
    if (steps.method != Method::block_update) return false;
    if (steps.nudged && k + 1 == memory_.of_inner.layers) return false;
    for (const ImageCoupling<T>& c : plan().couplings)
      if (c.has_maximum() && c.fields.source == k + 1) return false;
    return plan().network.legendre || plan().network.layers[k + 1].rho == Rho::clip;
  }
  void update(const ImagePass<T>& pass, const Layers& layers) const {
    run_before(pass, memory_.of_inner, memory_.inner_jobs, layers);
    run_jobs("a step", pass, memory_.of_inner, layers);
  }
  ImagePass<T> relaxing(const Steps& steps, int wanted) const {
    ImagePass<T> pass = pass_of(memory_.inner, steps.phase.signals, steps.phase.samples);
    pass.phase = steps.phase;
    pass.wanted = wanted;
    return pass;
  }
  /// Computes all maxima at these signals.
  void find_winners(const T* at, int samples) const {
    std::vector<int> jobs;
    for (const auto& before : memory_.inner_jobs)
      for (const int n : before)
        if (memory_.of_inner.job[n].pool > 1) jobs.push_back(n);
    run_jobs("the maxima of images", pass_of(memory_.inner, at, samples), memory_.of_inner, jobs);
  }
  void share(const ImagePhase<T>& phase) const {
    run("the shares of the logits", &share_logits<T>, flat(phase.samples), phase);
  }

  // ---- conjugate gradients

  /// The vectors of a solution lie in the memory of `next`.
  ImageSide<T> side_of(int samples, T* lambda) const {
    const std::size_t size = std::size_t(samples) * plan().units;
    const auto vector = [&](std::size_t number) { return memory_.next.data() + number * size; };
    static_assert(most_nodes >= 8);
    return {phase_of(samples),
            {vector(0), vector(1), vector(2), vector(3), vector(4)},
            vector(5),
            vector(6),
            vector(7),
            memory_.numbers.data(),
            lambda,
            places_.status,
            places_.iterations};
  }
  ImagePass<T> solving(const ImageSide<T>& side, const T* signals, Finish finish) const {
    ImagePass<T> pass = pass_of(memory_.inner, signals, side.phase.samples);
    pass.phase = side.phase;
    pass.side = side.vectors;
    pass.finish = finish;
    return pass;
  }
  const Loop& side_loop(const ImageSide<T>& side) {
    if (side_loops_.size() >= most_loops && side_loops_.count(side.phase.samples) == 0)
      side_loops_.clear();
    return side_loops_
        .try_emplace(
            side.phase.samples, stream_,
            [&](const LoopHandles& handles) {
              ImagePass<T> pass = solving(side, side.pulled, Finish::hessian);
              pass.wanted = stepping;
              pass.keeps_winners = true;
              update(pass, all_layers(memory_.of_inner));
              run("a conjugate gradient", &step_side<T>, block_for_each(side.phase.samples), side);
              run("the end of a step", &find_stepping<T>, one_block(), side.phase, handles);
            })
        .first->second;
  }

  // ---- gradients

  ImageFactors<T> factors_of(std::size_t number, int winner_samples) const {
    const ImageCoupling<T>& c = plan().couplings[number];
    const CouplingFields& fields = c.fields;
    const std::ptrdiff_t units = plan().units, inputs = plan().network.layers[0].units;
    const bool inner = c.inner();
    ImageFactors<T> factors{};
    factors.of = c.weights.of;
    factors.above = fields.target == 0
                        ? places_.x
                        : (inner ? places_.left : places_.sum) + plan().begins[fields.target - 1];
    factors.below = fields.source == 0
                        ? places_.x
                        : (inner ? places_.right : places_.sum) + plan().begins[fields.source - 1];
    factors.above_stride = fields.target == 0 ? inputs : units;
    factors.below_stride = fields.source == 0 ? inputs : units;
    if (c.has_maximum()) factors.winners = memory_.product({number, true}).winners;
    factors.winner_samples = winner_samples;
    return factors;
  }
  void sum_weights(const ImageCoupling<T>& c, ImageFactors<T>& factors, int samples,
                   std::ptrdiff_t at) const {
    const Geometry& of = c.weights.of;
    const int depth = samples * of.out_height * of.out_width;
    constexpr int least = 256;
    const int most = static_cast<int>(ImagePlan<T>::most_parts(c));
    const int part = std::max(least, (depth + most - 1) / most);
    factors.samples = samples;
    factors.chunk = (part + image_depth - 1) / image_depth * image_depth;
    factors.parts = memory_.parts.data();
    const int parts = (depth + factors.chunk - 1) / factors.chunk;
    if (cut_.tile == 1)
      run_gradient<2, 2>(factors, parts);
    else if (cut_.tile == 4 || of.out_channels <= 32)
      run_gradient<2, 4>(factors, parts);
    else
      run_gradient<4, 4>(factors, parts);
    const std::size_t weights = std::size_t(of.out_channels) * c.weights.group_channels() *
                                c.weights.kernel.y * c.weights.kernel.x;
    run("the gradient of weights", &sum_parts<T>, flat(weights), c.weights, parts,
        memory_.parts.data(), places_.gradient + at);
  }
  template <int M, int N>
  void run_gradient(const ImageFactors<T>& factors, int parts) const {
    using Tile = ImageGradient<T, M, N>;
    const Geometry& of = factors.of;
    const int rows = (of.out_channels + Tile::rows - 1) / Tile::rows;
    const int columns = (of.taps() * of.channels + Tile::columns - 1) / Tile::columns;
    run("the gradient of weights", &image_gradient<T, M, N>,
        Shape{dim3(static_cast<unsigned>(rows), static_cast<unsigned>(columns),
                   static_cast<unsigned>(parts)),
              image_threads, dim3(1), Tile::bytes()},
        factors);
  }
  void sum_biases(std::size_t k, int samples) const {
    const ImageLayer<T>& layer = memory_.of_inner.layer[k];
    run("the gradient of biases", &sum_channels<T>,
        Shape{dim3(static_cast<unsigned>((layer.channels + 31) / 32)), image_threads, dim3(1),
              sizeof(T) * image_threads},
        layer.channels, layer.units / layer.channels, samples,
        static_cast<std::ptrdiff_t>(plan().units), places_.sum + layer.begin,
        places_.gradient + plan().network.biases[k]);
  }

  ImagePlaces<T> places_;
  std::map<std::array<int, 6>, Loop> loops_;
  std::map<int, Loop> side_loops_;  // of each number of samples
};

}  // namespace equiprop::cuda
