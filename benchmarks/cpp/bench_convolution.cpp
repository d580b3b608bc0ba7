/// Benchmarks of convolutions of a batch of images: products in both directions, the weights' gradient, max pooling,
/// and products from its winners. Flops are those of the products that are needed: no padding, no zeros. EQUIPROP_ISA
/// chooses the kernels.
///
///     cmake -S . -B build -DEQUIPROP_BUILD_BENCHMARKS=ON && cmake --build build
///     build/benchmarks/bench_convolution

#include "measuring.hpp"

namespace equiprop {
namespace {

struct Case {
  Index channels, out_channels, size, kernel, padding;
  std::string name() const {
    return std::to_string(channels) + "->" + std::to_string(out_channels) + "," +
           std::to_string(kernel) + "x" + std::to_string(kernel) + "," + std::to_string(size) +
           "x" + std::to_string(size);
  }
  ConvolutionShape shape() const {
    ConvolutionShape s;
    s.channels = channels, s.out_channels = out_channels;
    s.height = s.width = size;
    s.kernel = {kernel, kernel}, s.padding = {padding, padding};
    s.out_height = s.out_width = convolved_extent(size, kernel, 1, padding, 1);
    return s;
  }
};
constexpr Case cases[] = {{32, 64, 12, 5, 0},   {32, 64, 14, 5, 0},   {1, 32, 28, 5, 0},
                          {64, 64, 16, 3, 0},   {128, 128, 16, 3, 0}, {3, 128, 32, 3, 1},
                          {128, 256, 16, 3, 1}, {256, 512, 8, 3, 1},  {512, 512, 4, 3, 1}};

/// Returns the positions above at which a tap is inside the image below, summed over taps.
double taps_inside(Index in, Index out, Index kernel, Index padding) {
  double count = 0;
  for (Index tap = 0; tap < kernel; ++tap)
    for (Index x = 0; x < out; ++x) count += x + tap >= padding && x + tap < in + padding ? 1 : 0;
  return count;
}

/// Images of a batch, and a packed convolution.
struct Images {
  ConvolutionShape shape;
  Index count;
  PackedConvolution<float> convolution;
  ConvolutionGradient<float> gradient, gradient_from_winners;
  State<float> below, above, pooled;
  Eigen::Matrix<std::uint8_t, Eigen::Dynamic, Eigen::Dynamic> winners;
  Parameters<float> scratch, grad;

  /// `zeros` is the fraction of units of both images that are 0.
  Images(const ConvolutionShape& s, Index count, double zeros)
      : shape(s),
        count(count),
        convolution(s, 2),
        gradient(s),
        gradient_from_winners(s, 2),
        below(State<float>::Random(padded_rows<float>(s.size()), count)),
        above(State<float>::Random(padded_rows<float>(s.out_size()), count)),
        pooled(State<float>::Random(padded_rows<float>(convolution.pooled_size()), count)),
        winners(pooled.rows(), count),
        scratch(convolution.scratch_size()),
        grad(Parameters<float>::Zero(s.weights())) {
    const Parameters<float> weights = Parameters<float>::Random(s.weights()) * 0.01F;
    convolution.pack_forward(weights.data(), 1);
    convolution.pack_transposed(weights.data(), 1);
    Random random(1);
    for (Index i = 0; i < pooled.size(); ++i) {
      winners.data()[i] = static_cast<std::uint8_t>(random.below(4));
      if (random.uniform() < zeros) pooled.data()[i] = 0;
    }
    for (Index i = 0; i < below.size(); ++i)
      if (random.uniform() < zeros) below.data()[i] = 0;
  }
  /// Returns the flops of the dense products; those with padding are not counted.
  double flops() const {
    return 2 * taps_inside(shape.height, shape.out_height, shape.kernel.y, shape.padding.y) *
           taps_inside(shape.width, shape.out_width, shape.kernel.x, shape.padding.x) *
           static_cast<double>(count * shape.out_channels * shape.channels);
  }
};

void run_forward(Images& images) {
  images.convolution.add_forward(images.count, images.below.data(), images.below.rows(),
                                 images.above.data(), images.above.rows(), images.scratch.data());
}

void run_transposed(Images& images) {
  images.convolution.add_transposed(images.count, images.above.data(), images.above.rows(),
                                    images.below.data(), images.below.rows(),
                                    images.scratch.data());
}

void run_gradient(Images& images) {
  images.gradient.add(1e-3F, images.count, images.above.data(), images.above.rows(),
                      images.below.data(), images.below.rows());
  images.gradient.finish(images.grad.data());
}

void run_pooled(Images& images) {
  for (Index n = 0; n < images.count; ++n)
    images.convolution.add_pooled(images.below.col(n).data(), images.pooled.col(n).data(),
                                  images.winners.col(n).data(), images.scratch.data());
}

void run_transposed_from_winners(Images& images) {
  for (Index n = 0; n < images.count; ++n)
    images.convolution.add_transposed_from_winners(
        images.pooled.col(n).data(), images.winners.col(n).data(), images.below.col(n).data(),
        images.scratch.data());
}

void run_gradient_from_winners(Images& images) {
  images.gradient_from_winners.add_from_winners(1e-3F, images.count, images.pooled.data(),
                                                images.winners.data(), images.pooled.rows(),
                                                images.below.data(), images.below.rows());
  images.gradient_from_winners.finish(images.grad.data());
}

/// `zeros` is the fraction of units that are 0, and `part` that of the dense products which are computed.
void register_run(const Case& c, const std::string& what, double zeros, double part,
                  void (*run)(Images&)) {
  add_benchmark(
      {what, c.name(), batch_name(50), std::string(kernel_isa())}, [=](benchmark::State& timer) {
        Images images(c.shape(), 50, zeros);
        measure(timer, {.flops = part * images.flops()}, kernel_isa(), [&] { run(images); });
      });
}

const Registration registration([] {
  for (const Case& c : cases) {
    register_run(c, "forward", 0, 1, run_forward);
    register_run(c, "forward and pooling", 0, 1, run_pooled);
    for (const double zeros : {0.5, 0.8})
      register_run(c, "forward and pooling, zeros " + std::to_string(zeros).substr(0, 3), zeros,
                   1 - zeros, run_pooled);
    register_run(c, "transposed", 0, 1, run_transposed);
    register_run(c, "gradient", 0, 1, run_gradient);
    for (const double zeros : {0.0, 0.8}) {
      const std::string name = " from winners, zeros " + std::to_string(zeros).substr(0, 3);
      const double part = (1 - zeros) / 4;
      register_run(c, "transposed" + name, zeros, part, run_transposed_from_winners);
      register_run(c, "gradient" + name, zeros, part, run_gradient_from_winners);
    }
  }
});

}  // namespace
}  // namespace equiprop
