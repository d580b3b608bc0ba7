#pragma once
/// The shape of a layer.

#include "equiprop/base/arrays.hpp"

namespace equiprop {

/// Number of channels, rows and columns of a layer. Unit (channel c, row y, column x) is number (y width + x) channels
/// + c of the layer: channels last. A number of units is a shape of one position.
struct Shape {
  Index channels = 0;  ///< numbers at one position
  Index height = 1;    ///< number of rows
  Index width = 1;     ///< number of columns

  Shape() = default;
  /// Converts a number of units.
  Shape(Index units) : channels(units) {}  // NOLINT(google-explicit-constructor)
  /// Creates the shape of an image.
  Shape(Index c, Index h, Index w) : channels(c), height(h), width(w) {}

  /// Returns the number of positions, height * width.
  Index positions() const { return height * width; }
  /// Returns the number of units.
  Index units() const { return channels * positions(); }
  bool operator==(const Shape&) const = default;  ///< compares all members
};

}  // namespace equiprop
