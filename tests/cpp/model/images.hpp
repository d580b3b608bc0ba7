#pragma once
/// Random geometries of convolutions, and the convolution by its definition.

#include "equiprop/equiprop.hpp"
#include "equiprop/model/convolution.hpp"
#include "support.hpp"

namespace equiprop::tests {

/// A random geometry with an image below and the shape of the target.
struct Geometry {
  explicit Geometry(std::uint64_t seed) {
    Random random(seed);
    const auto draw = [&](Index low, Index high) {
      return low + static_cast<Index>(0.5 * (random.symmetric() + 1) * double(high - low + 1));
    };
    windows.kernel = {draw(1, 4), draw(1, 4)};
    windows.stride = {draw(1, 3), draw(1, 3)};
    windows.padding = {draw(0, windows.kernel.y - 1), draw(0, windows.kernel.x - 1)};
    windows.dilation = {draw(1, 2), draw(1, 2)};
    windows.groups = draw(1, 2);
    pool = draw(1, 3);
    from = {windows.groups * draw(1, 3), draw(16, 20), draw(16, 20)};
    to = {windows.groups * draw(1, 4), 0, 0};
    const auto size = [](Index n, Index k, Index s, Index p, Index d) {
      return (n + 2 * p - d * (k - 1) - 1) / s + 1;
    };
    height = size(from.height, windows.kernel.y, windows.stride.y, windows.padding.y,
                  windows.dilation.y);
    width =
        size(from.width, windows.kernel.x, windows.stride.x, windows.padding.x, windows.dilation.x);
    to.height = height / pool;
    to.width = width / pool;
  }

  Windows windows;
  Index pool = 1, height = 0, width = 0;  // of the convolution
  Shape from, to;
};

/// Calls visit(index of a number of w * u, index of a weight, index of a number of u) for each product of w * u.
template <class Visit>
void for_each_tap(const Geometry& g, const Visit& visit) {
  const Windows& v = g.windows;
  const Index in = g.from.channels / v.groups, out = g.to.channels / v.groups;
  for (Index Y = 0; Y < g.height; ++Y)
    for (Index X = 0; X < g.width; ++X)
      for (Index c = 0; c < g.to.channels; ++c)
        for (Index d = 0; d < in; ++d)
          for (Index i = 0; i < v.kernel.y; ++i)
            for (Index j = 0; j < v.kernel.x; ++j) {
              const Index y = Y * v.stride.y + i * v.dilation.y - v.padding.y;
              const Index x = X * v.stride.x + j * v.dilation.x - v.padding.x;
              if (y < 0 || x < 0 || y >= g.from.height || x >= g.from.width) continue;
              visit((Y * g.width + X) * g.to.channels + c,
                    ((c * in + d) * v.kernel.y + i) * v.kernel.x + j,
                    (y * g.from.width + x) * g.from.channels + c / out * in + d);
            }
}

/// The convolution w * u by its definition, (channels, width, height) with the channels fastest.
inline State<double> convolved(const Geometry& g, const double* w, const State<double>& u) {
  State<double> a = State<double>::Zero(g.to.channels * g.height * g.width, u.cols());
  for_each_tap(g,
               [&](Index to, Index weight, Index from) { a.row(to) += w[weight] * u.row(from); });
  return a;
}

}  // namespace equiprop::tests
