/// Benchmarks of convolutions of single images, one after the other: products in both directions and the weights'
/// gradient. EQUIPROP_ISA chooses the kernels.
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
constexpr Case cases[] = {{32, 64, 14, 5, 0},   {1, 32, 28, 5, 0},  {64, 64, 16, 3, 0},
                          {128, 128, 16, 3, 0}, {3, 128, 32, 3, 1}, {128, 256, 16, 3, 1},
                          {256, 512, 8, 3, 1},  {512, 512, 4, 3, 1}};

/// Images of a batch and a packed convolution.
struct Images {
  ConvolutionShape shape;
  Index count;
  PackedConvolution<float> convolution;
  ConvolutionGradient<float> gradient;
  State<float> below, above;
  Parameters<float> scratch, grad;

  Images(const ConvolutionShape& s, Index count)
      : shape(s),
        count(count),
        convolution(s),
        gradient(s),
        below(State<float>::Random(s.size(), count)),
        above(State<float>::Random(s.out_size(), count)),
        scratch(convolution.scratch_size()),
        grad(Parameters<float>::Zero(s.weights())) {
    const Parameters<float> weights = Parameters<float>::Random(s.weights()) * 0.01F;
    convolution.pack_forward(weights.data(), 1);
    convolution.pack_transposed(weights.data(), 1);
  }
  /// Products with padding are not counted.
  Work work() const {
    double rows = 0, columns = 0;
    for (Index i = 0; i < shape.kernel.y; ++i)
      for (Index y = 0; y < shape.out_height; ++y) {
        const Index at = y * shape.stride.y + i * shape.dilation.y - shape.padding.y;
        rows += at >= 0 && at < shape.height ? 1 : 0;
      }
    for (Index j = 0; j < shape.kernel.x; ++j)
      for (Index x = 0; x < shape.out_width; ++x) {
        const Index at = x * shape.stride.x + j * shape.dilation.x - shape.padding.x;
        columns += at >= 0 && at < shape.width ? 1 : 0;
      }
    return {.flops = 2.0 * rows * columns * static_cast<double>(count * shape.out_channels) *
                     static_cast<double>(shape.group_channels())};
  }
};

void run_forward(Images& images) {
  for (Index n = 0; n < images.count; ++n)
    images.convolution.add_forward(images.below.col(n).data(), images.above.col(n).data(),
                                   images.scratch.data());
}

void run_transposed(Images& images) {
  for (Index n = 0; n < images.count; ++n)
    images.convolution.add_transposed(images.above.col(n).data(), images.below.col(n).data(),
                                      images.scratch.data());
}

void run_gradient(Images& images) {
  for (Index n = 0; n < images.count; ++n)
    images.gradient.add(1e-3F, images.above.col(n).data(), images.below.col(n).data());
  images.gradient.finish(images.grad.data());
}

void register_run(const Case& c, Index batch, const std::string& what, void (*run)(Images&)) {
  add_benchmark({what, c.name(), batch_name(batch), std::string(kernel_isa())},
                [=](benchmark::State& timer) {
                  Images images(c.shape(), batch);
                  measure(timer, images.work(), kernel_isa(), [&] { run(images); });
                });
}

const Registration registration([] {
  for (const Case& c : cases) {
    register_run(c, 50, "forward", run_forward);
    register_run(c, 50, "transposed", run_transposed);
    register_run(c, 50, "gradient", run_gradient);
  }
});

}  // namespace
}  // namespace equiprop
