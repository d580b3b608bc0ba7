#pragma once
/// Memory of large states that have come to their end, for the next ones: a system that takes memory back clears every
/// page of it before it gives it again, which costs a large batch a fifth of its training step.

#include <memory>

#include "equiprop/base/arrays.hpp"
#include "equiprop/base/export.hpp"

namespace equiprop {

/// Bytes of a state that is worth keeping; smaller ones come fast enough from malloc.
inline constexpr Index fewest_spare_bytes = Index{1} << 17;
/// Bytes that are kept at most, of states of one scalar.
inline constexpr Index most_spare_bytes = Index{64} << 20;

/// A state whose numbers are not set, in memory that was kept if there is such. Any thread may call these.
template <Scalar S>
EQUIPROP_EXPORT State<S> take_state(Index rows, Index columns);
/// Keeps the memory of a state for the next one of its size, or frees it.
template <Scalar S>
EQUIPROP_EXPORT void keep_state(State<S>&& state) noexcept;

/// take_state, and keep_state when the last pointer goes.
template <Scalar S>
std::shared_ptr<State<S>> shared_state(Index rows, Index columns) {
  return {new State<S>(take_state<S>(rows, columns)), [](State<S>* state) {
            keep_state<S>(std::move(*state));
            delete state;
          }};
}

/// Several states that are kept when they come to their end.
template <Scalar S>
struct KeptStates : std::vector<State<S>> {
  using std::vector<State<S>>::vector;  ///< so many empty ones
  /// As a vector's.
  ///@{
  KeptStates(const KeptStates&) = default;
  KeptStates(KeptStates&&) noexcept = default;
  KeptStates& operator=(const KeptStates&) = default;
  KeptStates& operator=(KeptStates&&) noexcept = default;
  ///@}
  ~KeptStates() {
    for (State<S>& state : *this) keep_state<S>(std::move(state));
  }
};

extern template State<float> take_state(Index, Index);
extern template State<double> take_state(Index, Index);
extern template State<Complex> take_state(Index, Index);
extern template State<Dual<double>> take_state(Index, Index);
extern template void keep_state(State<float>&&) noexcept;
extern template void keep_state(State<double>&&) noexcept;
extern template void keep_state(State<Complex>&&) noexcept;
extern template void keep_state(State<Dual<double>>&&) noexcept;

}  // namespace equiprop
