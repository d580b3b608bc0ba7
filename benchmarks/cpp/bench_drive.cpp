/// Benchmarks of the drive of a layer by a clamped input, w x + bias, by `affine`, which packs the weights, and by
/// Eigen's product. EQUIPROP_ISA chooses the kernels.
///
///     cmake -S . -B build -DEQUIPROP_BUILD_BENCHMARKS=ON && cmake --build build
///     build/benchmarks/bench_drive

#include "measuring.hpp"

namespace equiprop {
namespace {

constexpr Index inputs = 784, units = 512;

struct Drive {
  State<float> w = State<float>::Random(units, inputs), x, out;
  Parameters<float> bias = Parameters<float>::Random(units);

  explicit Drive(Index batch) : x(State<float>::Random(inputs, batch)), out(units, batch) {}
  Work work() const { return {.flops = 2.0 * static_cast<double>(w.size() * x.cols())}; }
};

void register_batch(Index batch) {
  add_benchmark({"784->512", batch_name(batch), std::string(kernel_isa())},
                [batch](benchmark::State& timer) {
                  Drive drive(batch);
                  measure(timer, drive.work(), kernel_isa(),
                          [&] { affine<float>(drive.w, drive.x, drive.bias, drive.out); });
                });
  add_benchmark({"784->512", batch_name(batch), "Eigen"}, [batch](benchmark::State& timer) {
    Drive drive(batch);
    measure(timer, drive.work(), kernel_isas().back(), [&] {
      drive.out.noalias() = drive.w * drive.x;
      drive.out.colwise() += drive.bias;
    });
  });
}

const Registration registration([] {
  for (const Index batch : {50, 200}) register_batch(batch);
});

}  // namespace
}  // namespace equiprop
