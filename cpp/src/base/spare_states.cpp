#include "equiprop/base/spare_states.hpp"

#include <algorithm>
#include <deque>
#include <mutex>

namespace equiprop {
namespace {

template <class S>
Index bytes_of(const State<S>& state) {
  return state.size() * static_cast<Index>(sizeof(S));
}

/// The free list, the oldest state first. `take` and `keep` do not wait if it is locked: in a child process that was
/// forked while it was locked, it stays locked forever.
template <class S>
class Shelf {
 public:
  /// Takes a state of that size; returns an empty one if there is none.
  State<S> take(Index size) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock) return {};
    const auto found = std::find_if(states_.begin(), states_.end(),
                                    [&](const auto& state) { return state.size() == size; });
    if (found == states_.end()) return {};
    State<S> state = std::move(*found);
    states_.erase(found);
    bytes_ -= bytes_of(state);
    return state;
  }
  void keep(State<S>&& state) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock) return;
    bytes_ += bytes_of(state);
    states_.push_back(std::move(state));
    for (; bytes_ > most_spare_bytes; states_.pop_front()) bytes_ -= bytes_of(states_.front());
  }

 private:
  std::mutex mutex_;
  std::deque<State<S>> states_;
  Index bytes_ = 0;
};

/// Returns the free list, which is never destroyed: states may outlive static objects.
template <class S>
Shelf<S>& shelf() {
  static auto* const kept = new Shelf<S>;
  return *kept;
}

}  // namespace

template <Scalar S>
State<S> take_state(Index rows, Index columns) {
  State<S> state;
  if (rows * columns * static_cast<Index>(sizeof(S)) >= fewest_spare_bytes)
    state = shelf<S>().take(rows * columns);
  resize_to(state, rows, columns);
  return state;
}

template <Scalar S>
void keep_state(State<S>&& state) noexcept {
  State<S> owned = std::move(state);
  if (bytes_of(owned) < fewest_spare_bytes || bytes_of(owned) > most_spare_bytes) return;
  try {
    shelf<S>().keep(std::move(owned));
  } catch (const std::bad_alloc&) {  // the state is freed
  }
}

#define INSTANTIATE(S)                           \
  template State<S> take_state<S>(Index, Index); \
  template void keep_state<S>(State<S> &&) noexcept;
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(Complex)
INSTANTIATE(Dual<double>)
#undef INSTANTIATE

}  // namespace equiprop
