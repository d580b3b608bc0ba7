/// One block update of a layer, 784-512-512-10 and 784-512-10, through the packed kernels of each instruction set and
/// through Eigen's product. Counters: GFLOP/s of the fastest of many blocks, and its percentage of the
/// multiply-and-add peak of the instruction set, measured in turns with it.
///
///     cmake -S . -B build/bench -DEQUIPROP_BUILD_BENCHMARKS=ON && cmake --build build/bench
///     build/bench/benchmarks/cpp/bench_relaxation

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <string>

#include "equiprop/equiprop.hpp"

namespace equiprop {
namespace {

using Size = std::ptrdiff_t;

double seconds_of(const auto& run) {
  const auto begin = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// ---------------------------------------------------------------------------- peaks

typedef float Vector16 __attribute__((vector_size(16)));
typedef float Vector32 __attribute__((vector_size(32)));
typedef float Vector64 __attribute__((vector_size(64)));

/// Defines a function of twelve chains of multiply-and-add; it returns the flops of `rounds` rounds. A macro, because
/// a function is not inlined into one for another instruction set.
#define CHAINS(name, Vector, ...)                                        \
  __VA_ARGS__ [[gnu::noinline]] double name(int rounds) {                \
    constexpr int chains = 12, lanes = sizeof(Vector) / sizeof(float);   \
    Vector chain[chains] = {}, a = Vector{} + 0.5F, b = Vector{} + 1.0F; \
    __asm__("" : "+m"(a), "+m"(b));                                      \
    for (int i = 0; i < rounds; ++i) {                                   \
      _Pragma("GCC unroll 16") for (auto& c : chain) c = c * a + b;      \
    }                                                                    \
    for (auto& c : chain) __asm__ volatile("" : : "m"(c));               \
    return 2.0 * chains * lanes * rounds;                                \
  }

#if defined(__x86_64__)
CHAINS(peak_flops_v2, Vector16, [[gnu::target("arch=x86-64-v2")]])
CHAINS(peak_flops_v3, Vector32, [[gnu::target("arch=x86-64-v3")]])
CHAINS(peak_flops_v4, Vector64, [[gnu::target("arch=x86-64-v4")]])
#else
CHAINS(peak_flops_generic, Vector16)
#endif
#undef CHAINS

double peak_flops(std::string_view isa, int rounds) {
#if defined(__x86_64__)
  if (isa == "x86-64-v4") return peak_flops_v4(rounds);
  if (isa == "x86-64-v3") return peak_flops_v3(rounds);
  return peak_flops_v2(rounds);  // the baseline has the same arithmetic
#else
  return peak_flops_generic(rounds);
#endif
}

// ---------------------------------------------------------------------------- the layers

/// A layer and its neighbours in one state of `units` rows, as a network holds it.
struct Case {
  const char* name;
  Size units;
  Size row, rows;                                 ///< of the layer
  std::vector<std::pair<Size, Size>> neighbours;  ///< first row, rows
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
  double flops() const {
    double sum = 0;
    for (const auto& w : weights) sum += 2.0 * static_cast<double>(w.size() * state.cols());
    return sum;
  }
};

class Packed {
 public:
  Packed(Setup& layer, std::string_view isa) : kernels_(kernels<float>(isa)) {
    for (std::size_t i = 0; i < layer.weights.size(); ++i) {
      const State<float>& w = layer.weights[i];
      packed_.emplace_back(kernels_.packed_size(w.rows(), w.cols()));
      kernels_.pack(w.data(), w.rows(), false, w.rows(), w.cols(), 1, packed_.back().data());
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

// ---------------------------------------------------------------------------- measuring

/// The fastest block of each wins: whatever else the machine does only ever slows one down.
void measure(benchmark::State& timer, double flops, std::string_view isa, const auto& run) {
  const int calls = std::max(1, static_cast<int>(4e6 / flops)), rounds = 3000;
  double best = 1e9, best_peak = 0;
  for (auto _ : timer) {
    const double seconds = seconds_of([&] {
      for (int i = 0; i < calls; ++i) run();
    });
    timer.SetIterationTime(seconds);
    best = std::min(best, seconds);
    double peak = 0;
    const double peak_seconds = seconds_of([&] { peak = peak_flops(isa, rounds); });
    best_peak = std::max(best_peak, peak / peak_seconds);
  }
  timer.counters["GFLOP/s"] = flops * calls / best * 1e-9;
  timer.counters["peak"] = best_peak * 1e-9;
  timer.counters["percent"] = 100 * flops * calls / best / best_peak;
}

void register_case(const Case& shape, Size batch) {
  const std::string name = std::string(shape.name) + "/batch:" + std::to_string(batch) + "/";
  for (const auto isa : kernel_isas())
    benchmark::RegisterBenchmark((name + std::string(isa)).c_str(), [&shape, batch,
                                                                     isa](benchmark::State& timer) {
      Setup layer(shape, batch);
      Packed packed(layer, isa);
      measure(timer, layer.flops(), isa, [&] { packed.run(); });
    })->UseManualTime();
  benchmark::RegisterBenchmark((name + "Eigen").c_str(), [&shape, batch](benchmark::State& timer) {
    Setup layer(shape, batch);
    measure(timer, layer.flops(), kernel_isas().back(), [&] { run_eigen(layer); });
  })->UseManualTime();
}

}  // namespace
}  // namespace equiprop

int main(int argc, char** argv) {
  for (const auto& shape : equiprop::cases())
    for (const equiprop::Size batch : {8, 50, 64, 200}) equiprop::register_case(shape, batch);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
