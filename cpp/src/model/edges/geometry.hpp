#pragma once
/// The geometry of couplings between images, checked.

#include "equiprop/model/convolution.hpp"

namespace equiprop {

/// Returns the geometry of a convolution before pooling. Throws InvalidArgument, with `where` as the place, unless the
/// convolution of an image `from`, pooled by `pool`, is an image `to`.
ConvolutionShape convolution_shape(const char* where, const Windows& windows, Index pool,
                                   const Shape& from, const Shape& to);

/// Returns the shape of the weights of a convolution.
WeightShape weight_shape(const ConvolutionShape& shape);

}  // namespace equiprop
