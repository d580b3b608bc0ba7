/// Benchmarks of relaxation: one block update of a layer of 784-512-512-10 and 784-512-10, by the packed kernels of
/// each instruction set and by Eigen's product; and 30 sweeps of these networks by `relax`, with the kernels that
/// EQUIPROP_ISA chooses.
///
///     cmake -S . -B build -DEQUIPROP_BUILD_BENCHMARKS=ON && cmake --build build
///     build/benchmarks/bench_relaxation

#include "networks.hpp"

namespace equiprop {
namespace {

using Size = std::ptrdiff_t;

// ---------------------------------------------------------------------------- the layers

/// A layer and its neighbours in one state with `units` rows.
struct Case {
  const char* name;
  Size units;
  Size row, rows;                                 ///< first row and number of rows of the layer
  std::vector<std::pair<Size, Size>> neighbours;  ///< first row and number of rows of each
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all{
      {"512<-512+10", 1034, 512, 512, {{0, 512}, {1024, 10}}},
      {"512<-512", 1034, 0, 512, {{512, 512}}},
      {"512<-10", 522, 0, 512, {{512, 10}}},
      {"10<-512", 522, 512, 10, {{0, 512}}},
  };
  return all;
}

struct Setup {
  const Case& shape;
  State<float> state, drive;
  std::vector<State<float>> weights;

  Setup(const Case& shape, Size batch)
      : shape(shape),
        state(State<float>::Random(shape.units, batch)),
        drive(State<float>::Random(shape.units, batch)) {
    for (const auto& [row, rows] : shape.neighbours)
      weights.emplace_back(State<float>::Random(shape.rows, rows) * 0.05F);
  }
  Work work() const {
    double flops = 0;
    for (const auto& w : weights) flops += 2.0 * static_cast<double>(w.size() * state.cols());
    return {.flops = flops};
  }
};

class Packed {
 public:
  Packed(Setup& layer, std::string_view isa) : kernels_(kernels<float>(isa)) {
    Size depth = 0;
    for (const State<float>& w : layer.weights) depth += w.cols();
    const bool by_rows = kernels_.by_rows(layer.shape.rows, depth);
    const auto pack = by_rows ? kernels_.pack_by_rows : kernels_.pack;
    for (std::size_t i = 0; i < layer.weights.size(); ++i) {
      const State<float>& w = layer.weights[i];
      packed_.emplace_back(by_rows ? kernels_.packed_size(w.cols(), w.rows())
                                   : kernels_.packed_size(w.rows(), w.cols()));
      pack(w.data(), w.rows(), false, w.rows(), w.cols(), 1, packed_.back().data());
      pulls_.push_back({packed_.back().data(), w.cols(),
                        layer.state.data() + layer.shape.neighbours[i].first, layer.shape.units});
    }
    step_ = {layer.shape.rows,
             layer.state.cols(),
             pulls_.data(),
             static_cast<Size>(pulls_.size()),
             layer.drive.data() + layer.shape.row,
             layer.shape.units,
             &box_,
             layer.state.data() + layer.shape.row,
             layer.shape.units};
    step_.by_rows = by_rows;
  }
  void run() { kernels_.accumulate(step_); }

 private:
  const Kernels<float>& kernels_;
  std::vector<Eigen::VectorXf> packed_;
  std::vector<Pull<float>> pulls_;
  Response<float> box_{.kind = ResponseKind::box, .gain = 1, .lower = 0, .upper = 1};
  LayerStep<float> step_{};
};

void run_eigen(Setup& layer) {
  const Case& shape = layer.shape;
  const ConstStateRef<float> drive = layer.drive.middleRows(shape.row, shape.rows);
  StateRef<float> state = layer.state.middleRows(shape.row, shape.rows);
  state = drive;
  for (std::size_t i = 0; i < layer.weights.size(); ++i) {
    const auto& [row, rows] = shape.neighbours[i];
    add_product<float>(1, layer.weights[i], Op::none, layer.state.middleRows(row, rows), Op::none,
                       state);
  }
  state = state.cwiseMax(0.0F).cwiseMin(1.0F);
}

void register_layer(const Case& shape, Size batch) {
  for (const auto isa : kernel_isas())
    add_benchmark({shape.name, batch_name(batch), std::string(isa)},
                  [&shape, batch, isa](benchmark::State& timer) {
                    Setup layer(shape, batch);
                    Packed packed(layer, isa);
                    measure(timer, layer.work(), isa, [&] { packed.run(); });
                  });
  add_benchmark({shape.name, batch_name(batch), "Eigen"}, [&shape, batch](benchmark::State& timer) {
    Setup layer(shape, batch);
    measure(timer, layer.work(), kernel_isas().back(), [&] { run_eigen(layer); });
  });
}

// ---------------------------------------------------------------------------- the networks

/// Registers the relaxation of a chain of layers. The final measurement of the residual, which takes about the time of
/// a sweep, is not counted in the flops.
void register_network(const std::vector<Index>& sizes, Index batch) {
  constexpr Index sweeps = 30;
  add_benchmark({name_of(sizes) + " relaxed", batch_name(batch), std::string(kernel_isa())},
                [&sizes, batch](benchmark::State& timer) {
                  const HopfieldNetwork<float> network = make_network(sizes);
                  const AnyEnergy<float> energy = network.clamp(random_input(sizes.front(), batch));
                  const Solver solver = BlockUpdate{{.tolerance = 0, .max_iterations = sweeps}};
                  State<float> state = network.initial_state(batch);
                  const double flops = sweep_flops(network.topology());
                  measure(timer, {.flops = static_cast<double>(sweeps * batch) * flops},
                          kernel_isa(), [&] { relax<float>(energy, solver, state); });
                });
}

const Registration registration([] {
  for (const auto& shape : cases())
    for (const Size batch : {8, 50, 64, 200}) register_layer(shape, batch);
  for (const auto& sizes : network_sizes())
    for (const Size batch : {8, 64}) register_network(sizes, batch);
});

}  // namespace
}  // namespace equiprop
