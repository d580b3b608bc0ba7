#pragma once
/// Couplings: bilinear edges -<u_source, W u_target> of the energy, between two layers.
///
/// Every product of the library's networks is one of the three functions below; another kind of
/// edge (convolution, pooling) is another type with the same functions.

#include "equiprop/base/arrays.hpp"
#include "equiprop/base/layout.hpp"
#include "equiprop/base/product.hpp"

namespace [[gnu::visibility("default")]] equiprop {

/// All-to-all weights W (source, target) in C order, which is (target, source) column-major.
struct Dense {
  Index source = 0;  ///< index of a layer
  Index target = 0;

  static Index rows(Index /*source_units*/, Index target_units) { return target_units; }
  static Index columns(Index source_units, Index /*target_units*/) { return source_units; }

  /// to_target += scale * W^T u_source. The weights may be real where the states are dual or complex.
  template <Scalar S, Scalar W>
  static void pull_target(S scale, const ConstStateRef<W>& w,  // (target, source)
                          const ConstStateRef<S>& u_source,    // (source, batch)
                          StateRef<S> to_target) {             // (target, batch)
    weigh<S, W>(scale, w, Op::none, u_source, to_target);
  }
  /// to_source += scale * W u_target
  template <Scalar S, Scalar W>
  static void pull_source(S scale, const ConstStateRef<W>& w,  // (target, source)
                          const ConstStateRef<S>& u_target,    // (target, batch)
                          StateRef<S> to_source) {             // (source, batch)
    weigh<S, W>(scale, w, Op::transpose, u_target, to_source);
  }
  /// grad += sums over the batch of scale * u_target u_source^T
  template <Scalar S>
  static void add_outer(std::span<const OuterProduct<S>> products,
                        StateRef<S> grad) {  // (target, source)
    if constexpr (std::floating_point<S>)
      add_outer_products<S>(products, grad);
    else
      for_each_chunk(grad.cols(), Index{128}, [&](Index begin, Index count) {
        for (const auto& [scale, u_target, u_source] : products)
          add_product<S>(scale, u_target, Op::none, u_source.middleRows(begin, count),
                         Op::transpose, grad.middleCols(begin, count));
      });
  }
  /// The update of W in place of such a sum.
  template <std::floating_point S>
  static void descend(std::span<const OuterProduct<S>> products, const Descending<S>& descending,
                      const Block& w) {
    equiprop::descend<S>(products, descending, w.offset);
  }

 private:
  template <Scalar S, Scalar W>
  static void weigh(S scale, const ConstStateRef<W>& w, Op op, const ConstStateRef<S>& u,
                    StateRef<S>& to) {
    if constexpr (std::same_as<S, W>)
      add_product<S>(scale, w, op, u, Op::none, to);
    else
      add_real_product<S>(scale, w, op, u, to);
  }
};

}  // namespace equiprop
