#pragma once
/// Couplings: the terms -<u_target, W u_source> of a network's energy, as a description without arithmetic.
///
/// `Dense` and `Identity` are here, couplings of images are in convolution.hpp. A program can add kinds; see `Coupling`.

#include <concepts>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "equiprop/base/arrays.hpp"
#include "equiprop/base/export.hpp"
#include "equiprop/model/edge.hpp"
#include "equiprop/model/lateral_weights.hpp"

namespace equiprop {

/// The array of a coupling's weights, and the fans that determine their initial scale. Without weights, `rows` is 0.
struct WeightShape {
  Index rows = 0;      ///< rows of the column-major block; NumPy shows (columns, rows)
  Index columns = 1;   ///< columns of the block
  double fan_in = 0;   ///< number of terms in the sum that drives a target unit
  double fan_out = 0;  ///< number of terms in the sum that drives a source unit
  /// Shape in C order that NumPy and files see; empty for (columns, rows).
  std::vector<Index> shape = {};
};

/// Requirements of a kind of coupling: a copyable type with the positions of two layers (`source`, `target`).
/// `weights_of` returns the shape of its weights for given layers and throws if they do not fit; `bind` returns, for
/// each scalar, the Edge that computes with them. A kind with `static constexpr bool directed = true` differs from
/// itself with source and target exchanged; if the input is its target, its edge is bilinear. A kind with `static
/// constexpr bool holomorphic = false` has no complex derivative. A kind with a function `lateral_weights(shape)`, which
/// returns the LateralWeights of a layer, may have one layer as its source and its target.
template <class K>
concept CouplingKind = std::copyable<K> &&
    requires(K kind, const K fixed, const Shape& shape, const EdgeEnds<float>& ends) {
  { kind.source } -> std::same_as<Index&>;
  { kind.target } -> std::same_as<Index&>;
  { K::kind_name() } -> std::convertible_to<std::string_view>;
  { fixed.weights_of(shape, shape) } -> std::same_as<WeightShape>;
  { fixed.bind(ends) } -> std::convertible_to<std::unique_ptr<Edge<float>>>;
};

/// All-to-all weights W (target, source); NumPy shows them as (source, target). If source and target are one layer, the
/// energy is -<u, W u> / 2 with the matrix W of LateralWeights.
struct EQUIPROP_EXPORT Dense {
  Index source = 0;  ///< position of the source layer
  Index target = 0;  ///< position of the target layer

  static std::string_view kind_name() { return "dense"; }  ///< name of the kind
  /// Returns the shape (target units, source units).
  WeightShape weights_of(const Shape& from, const Shape& to) const;
  /// Returns the layout of the weights within a layer.
  LateralWeights lateral_weights(const Shape& layer) const { return {layer.units()}; }
  /// Returns the edge that computes with these weights.
  template <Scalar S>
  std::unique_ptr<Edge<S>> bind(const EdgeEnds<S>& ends) const;
};

/// The energy -gain <u_target, u_source> of two layers of one shape. It has no weights; with separate feedback, both
/// directions have the gain.
struct EQUIPROP_EXPORT Identity {
  Index source = 0;  ///< position of the source layer
  Index target = 0;  ///< position of the target layer
  double gain = 1;   ///< factor of the signals

  static std::string_view kind_name() { return "identity"; }  ///< name of the kind
  /// Returns the shape of no weights. Throws InvalidArgument if the layers differ in shape or |gain| > 2^20.
  WeightShape weights_of(const Shape& from, const Shape& to) const;
  /// Returns the edge that computes with this gain.
  template <Scalar S>
  std::unique_ptr<Edge<S>> bind(const EdgeEnds<S>& ends) const;
};

/// A coupling of any kind, held by value. A program adds a kind as a type that satisfies CouplingKind.
class Coupling {
 public:
  /// Converts a coupling of any kind.
  template <class K>
  requires(!std::same_as<K, Coupling> && CouplingKind<K>) Coupling(K kind)
      : held_(std::make_shared<Held<K>>(std::move(kind))) {}

  /// Creates all-to-all weights between the layers at two positions.
  Coupling(Index source, Index target) : Coupling(Dense{source, target}) {}

  Index source() const { return held_->source(); }              ///< position of the source layer
  Index target() const { return held_->target(); }              ///< position of the target layer
  std::string_view kind() const { return held_->kind_name(); }  ///< name of the kind
  /// Returns the shape of the weights between layers of these shapes. Throws InvalidArgument if they do not
  /// fit.
  WeightShape weights_of(const Shape& from, const Shape& to) const {
    return held_->weights_of(from, to);
  }
  /// Returns the edge that computes with these weights.
  template <Scalar S>
  std::unique_ptr<Edge<S>> bind(const EdgeEnds<S>& ends) const {
    return held_->bind(ends);
  }
  /// Returns true if the coupling with source and target exchanged is another one.
  bool directed() const { return held_->directed(); }
  /// Returns true if the energy of the coupling is complex-differentiable.
  bool holomorphic() const { return held_->holomorphic(); }
  /// Returns the layout of the weights within a layer of this shape, or nothing if the kind joins different layers only.
  std::optional<LateralWeights> lateral_weights(const Shape& layer) const {
    return held_->lateral_weights(layer);
  }
  /// Returns the coupling with source and target exchanged.
  Coupling reversed() const { return held_->reversed(); }
  /// Returns the coupling as K, or nullptr if it is of another kind.
  template <CouplingKind K>
  const K* as() const {
    const auto* held = dynamic_cast<const Held<K>*>(held_.get());
    return held != nullptr ? &held->kind : nullptr;
  }

 private:
  struct Interface {
    virtual ~Interface() = default;
    virtual Index source() const = 0;
    virtual Index target() const = 0;
    virtual std::string_view kind_name() const = 0;
    virtual WeightShape weights_of(const Shape&, const Shape&) const = 0;
    virtual bool directed() const = 0;
    virtual bool holomorphic() const = 0;
    virtual std::optional<LateralWeights> lateral_weights(const Shape&) const = 0;
    virtual Coupling reversed() const = 0;
    virtual std::unique_ptr<Edge<float>> bind(const EdgeEnds<float>&) const = 0;
    virtual std::unique_ptr<Edge<double>> bind(const EdgeEnds<double>&) const = 0;
    virtual std::unique_ptr<Edge<Complex>> bind(const EdgeEnds<Complex>&) const = 0;
    virtual std::unique_ptr<Edge<Dual<double>>> bind(const EdgeEnds<Dual<double>>&) const = 0;
  };
  template <class K>
  struct Held final : Interface {
    explicit Held(K held) : kind(std::move(held)) {}
    Index source() const override { return kind.source; }
    Index target() const override { return kind.target; }
    std::string_view kind_name() const override { return K::kind_name(); }
    WeightShape weights_of(const Shape& from, const Shape& to) const override {
      return kind.weights_of(from, to);
    }
    bool directed() const override {
      if constexpr (requires { K::directed; })
        return K::directed;
      else
        return false;
    }
    bool holomorphic() const override {
      if constexpr (requires { K::holomorphic; })
        return K::holomorphic;
      else
        return true;
    }
    std::optional<LateralWeights> lateral_weights(const Shape& layer) const override {
      if constexpr (requires { kind.lateral_weights(layer); })
        return kind.lateral_weights(layer);
      else
        return {};
    }
    Coupling reversed() const override {
      K other = kind;
      std::swap(other.source, other.target);
      return other;
    }
    std::unique_ptr<Edge<float>> bind(const EdgeEnds<float>& ends) const override {
      return kind.bind(ends);
    }
    std::unique_ptr<Edge<double>> bind(const EdgeEnds<double>& ends) const override {
      return kind.bind(ends);
    }
    std::unique_ptr<Edge<Complex>> bind(const EdgeEnds<Complex>& ends) const override {
      return kind.bind(ends);
    }
    std::unique_ptr<Edge<Dual<double>>> bind(const EdgeEnds<Dual<double>>& ends) const override {
      return kind.bind(ends);
    }
    K kind;
  };

  std::shared_ptr<const Interface> held_;
};

}  // namespace equiprop
