#include "geometry.hpp"

#include "base/text.hpp"

namespace equiprop {
namespace {

constexpr Index most =
    Index{1} << 20;  // of every number of a geometry, so that sums cannot overflow

void check_windows(const char* where, const Windows& w, Index pool) {
  const auto within = [&](const char* rule, const Extent& e, Index least) {
    require(e.y >= least && e.x >= least && e.y <= most && e.x <= most, where, rule, e.y, " x ",
            e.x);
  };
  within("The kernel has between 1 and 2^20 rows and columns.", w.kernel, 1);
  within("The stride is between 1 and 2^20.", w.stride, 1);
  within("The padding is between 0 and 2^20.", w.padding, 0);
  within("The dilation is between 1 and 2^20.", w.dilation, 1);
  require(pool >= 1 && pool <= 16, where, "Pooling windows have between 1 and 16 rows.", pool);
  require(w.padding.y < w.dilation.y * w.kernel.y && w.padding.x < w.dilation.x * w.kernel.x, where,
          "The padding is smaller than the kernel, so that each window reads the image.",
          w.padding.y, " x ", w.padding.x);
}

}  // namespace

ConvolutionShape convolution_shape(const char* where, const Windows& w, Index pool,
                                   const Shape& from, const Shape& to) {
  check_windows(where, w, pool);
  const Index groups = w.groups;
  require(groups >= 1 && from.channels % groups == 0 && to.channels % groups == 0, where,
          "The number of groups divides the channels of both layers.", groups, " for ",
          from.channels, " and ", to.channels, " channels");
  ConvolutionShape shape;
  shape.channels = from.channels;
  shape.height = from.height;
  shape.width = from.width;
  shape.out_channels = to.channels;
  shape.out_height =
      convolved_extent(from.height, w.kernel.y, w.stride.y, w.padding.y, w.dilation.y);
  shape.out_width = convolved_extent(from.width, w.kernel.x, w.stride.x, w.padding.x, w.dilation.x);
  shape.kernel = w.kernel;
  shape.stride = w.stride;
  shape.padding = w.padding;
  shape.dilation = w.dilation;
  shape.groups = groups;
  const Index height = shape.out_height / pool, width = shape.out_width / pool;
  require(height >= 1 && width >= 1, where,
          "The kernel and a pooling window fit into the source image.", w.kernel.y, " x ",
          w.kernel.x, " pooled by ", pool, " for an image of ", from.height, " x ", from.width);
  require(height == to.height && width == to.width, where,
          concatenated("The target has the size of the result, ", height, " x ", width, "."),
          to.height, " x ", to.width);
  shape.check();
  return shape;
}

WeightShape weight_shape(const ConvolutionShape& s) {
  const Index in = s.channels / s.groups, out = s.out_channels / s.groups;
  const auto taps = static_cast<double>(s.kernel.y * s.kernel.x);
  return {in * s.kernel.y * s.kernel.x,
          s.out_channels,
          static_cast<double>(in) * taps,
          static_cast<double>(out) * taps,
          {s.out_channels, in, s.kernel.y, s.kernel.x}};
}

}  // namespace equiprop
