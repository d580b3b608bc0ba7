#include "equiprop/model/lateral_weights.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace equiprop {

template <std::floating_point T>
double LateralWeights::norm_bound(const T* weights) const {
  const Index each = channels / groups, taps = kernel.y * kernel.x;
  double largest_row = 0, largest_norm = 0;
  std::vector<double> squares(static_cast<std::size_t>(taps));  // of each tap, in one group
  for (Index to = 0; to < channels; ++to) {
    if (to % each == 0) std::fill(squares.begin(), squares.end(), 0.0);
    double row = 0;
    for (Index k = to * each * taps; k < (to + 1) * each * taps; ++k) {
      const auto size = static_cast<double>(std::abs(weights[k]));
      row += size;
      squares[static_cast<std::size_t>(k % taps)] += size * size;
    }
    largest_row = std::max(largest_row, row);
    if (to % each + 1 < each) continue;
    double norm = 0;
    for (const double square : squares) norm += std::sqrt(square);
    largest_norm = std::max(largest_norm, norm);
  }
  return std::min(largest_row, largest_norm);
}

template double LateralWeights::norm_bound(const float*) const;
template double LateralWeights::norm_bound(const double*) const;

}  // namespace equiprop
