#pragma once
/// A free list for the memory of large states: the operating system zeroes pages when memory is mapped again, which
/// took 20 % of a training step at batch 4096.

#include <memory>

#include "equiprop/base/arrays.hpp"
#include "equiprop/base/export.hpp"

namespace equiprop {

/// Smallest size in bytes of a state that the free list keeps; malloc is fast enough for smaller ones.
inline constexpr Index fewest_spare_bytes = Index{1} << 17;
/// Largest total size in bytes of the free list of one scalar.
inline constexpr Index most_spare_bytes = Index{64} << 20;

/// Returns an uninitialised state, in memory from the free list if a state of that size is there. Thread-safe.
template <Scalar S>
EQUIPROP_EXPORT State<S> take_state(Index rows, Index columns);
/// Moves the memory of a state to the free list, or frees it. Thread-safe.
template <Scalar S>
EQUIPROP_EXPORT void keep_state(State<S>&& state) noexcept;

/// Returns a shared pointer to an uninitialised state from take_state; its memory is returned by keep_state.
template <Scalar S>
std::shared_ptr<State<S>> shared_state(Index rows, Index columns) {
  return {new State<S>(take_state<S>(rows, columns)), [](State<S>* state) {
            keep_state<S>(std::move(*state));
            delete state;
          }};
}

/// A vector of states whose memory returns to the free list when the vector is destroyed.
template <Scalar S>
struct KeptStates : std::vector<State<S>> {
  using std::vector<State<S>>::vector;  ///< constructors of std::vector
  /// Copies and moves like std::vector.
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
