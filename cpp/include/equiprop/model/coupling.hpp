#pragma once
/// Couplings: the terms -<u_target, W u_source> of a network's energy, as geometry without arithmetic.
///
/// `Dense` is the first kind. Another kind is a type like it: see `Coupling`.

#include <concepts>
#include <memory>
#include <string_view>
#include <utility>

#include "equiprop/base/arrays.hpp"
#include "equiprop/base/export.hpp"
#include "equiprop/model/edge.hpp"

namespace equiprop {

/// The array of a coupling's weights, and the fans that their initial scale depends on.
struct WeightShape {
  Index rows = 0;      ///< of the block; (rows, columns) column-major is (columns, rows) in NumPy
  Index columns = 1;   ///< of the block
  double fan_in = 0;   ///< terms in the sum that drives a target unit
  double fan_out = 0;  ///< terms in the sum that drives a source unit
};

/// A kind of coupling: a value with the positions of two layers, the shape of its weights between layers of given
/// sizes (an exception where they do not fit), and, for each scalar, the Edge that computes with them.
template <class K>
concept CouplingKind = std::copyable<K> &&
    requires(K kind, const K fixed, Index units, const EdgeEnds<float>& ends) {
  { kind.source } -> std::same_as<Index&>;
  { kind.target } -> std::same_as<Index&>;
  { K::kind_name() } -> std::convertible_to<std::string_view>;
  { fixed.weights_of(units, units) } -> std::same_as<WeightShape>;
  { fixed.bind(ends) } -> std::convertible_to<std::unique_ptr<const Edge<float>>>;
};

/// All-to-all weights W (target, source); NumPy sees (source, target).
struct EQUIPROP_EXPORT Dense {
  Index source = 0;  ///< position of a layer
  Index target = 0;  ///< position of another

  static std::string_view kind_name() { return "dense"; }  ///< of this kind
  /// (target units, source units)
  WeightShape weights_of(Index source_units, Index target_units) const;
  /// The edge that computes with these weights.
  template <Scalar S>
  std::unique_ptr<const Edge<S>> bind(const EdgeEnds<S>& ends) const;
};

/// Any kind of coupling, held by value. A program adds a kind by passing a type that satisfies CouplingKind.
class Coupling {
 public:
  /// Every kind converts.
  template <class K>
  requires(!std::same_as<K, Coupling> && CouplingKind<K>) Coupling(K kind)
      : held_(std::make_shared<Held<K>>(std::move(kind))) {}

  /// All-to-all weights between the layers at two positions.
  Coupling(Index source, Index target) : Coupling(Dense{source, target}) {}

  Index source() const { return held_->source(); }              ///< position of a layer
  Index target() const { return held_->target(); }              ///< position of another
  std::string_view kind() const { return held_->kind_name(); }  ///< K::kind_name()
  /// Shape of the weights between layers of these numbers of units. Throws InvalidArgument if they do not fit.
  WeightShape weights_of(Index source_units, Index target_units) const {
    return held_->weights_of(source_units, target_units);
  }
  /// The edge that computes with these weights.
  template <Scalar S>
  std::unique_ptr<const Edge<S>> bind(const EdgeEnds<S>& ends) const {
    return held_->bind(ends);
  }
  /// The same coupling with its ends exchanged.
  Coupling reversed() const { return held_->reversed(); }
  /// The coupling as K, or nullptr if it is of another kind.
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
    virtual WeightShape weights_of(Index, Index) const = 0;
    virtual Coupling reversed() const = 0;
    virtual std::unique_ptr<const Edge<float>> bind(const EdgeEnds<float>&) const = 0;
    virtual std::unique_ptr<const Edge<double>> bind(const EdgeEnds<double>&) const = 0;
    virtual std::unique_ptr<const Edge<Complex>> bind(const EdgeEnds<Complex>&) const = 0;
    virtual std::unique_ptr<const Edge<Dual<double>>> bind(const EdgeEnds<Dual<double>>&) const = 0;
  };
  template <class K>
  struct Held final : Interface {
    explicit Held(K held) : kind(std::move(held)) {}
    Index source() const override { return kind.source; }
    Index target() const override { return kind.target; }
    std::string_view kind_name() const override { return K::kind_name(); }
    WeightShape weights_of(Index from, Index to) const override {
      return kind.weights_of(from, to);
    }
    Coupling reversed() const override {
      K other = kind;
      std::swap(other.source, other.target);
      return other;
    }
    std::unique_ptr<const Edge<float>> bind(const EdgeEnds<float>& ends) const override {
      return kind.bind(ends);
    }
    std::unique_ptr<const Edge<double>> bind(const EdgeEnds<double>& ends) const override {
      return kind.bind(ends);
    }
    std::unique_ptr<const Edge<Complex>> bind(const EdgeEnds<Complex>& ends) const override {
      return kind.bind(ends);
    }
    std::unique_ptr<const Edge<Dual<double>>> bind(
        const EdgeEnds<Dual<double>>& ends) const override {
      return kind.bind(ends);
    }
    K kind;
  };

  std::shared_ptr<const Interface> held_;
};

}  // namespace equiprop
