#pragma once
/// Random numbers that do not depend on the platform, the compiler or the number of threads.
///
/// Philox4x32-10 (Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011): block n of a
/// stream is a keyed bijection of the counter n. The transforms below use only integers and exact or correctly rounded
/// operations, so the results do not depend on a library's `log`.

#include <array>
#include <cstdint>
#include <numeric>
#include <vector>

namespace equiprop {

/// Counter and output of the generator: four 32-bit words.
using PhiloxBlock = std::array<std::uint32_t, 4>;

/// Returns the result of ten rounds of Philox on `counter` with key `key`.
inline PhiloxBlock philox(PhiloxBlock counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {
        static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(p1),
        static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(p0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

/// A reproducible sequence of random numbers, identified by (seed, stream).
class Random {
 public:
  /// Creates the sequence. Equal seeds and streams give equal numbers.
  explicit Random(std::uint64_t seed, std::uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  /// Returns 32 random bits.
  std::uint32_t bits() {
    if (used_ == 4) refill();
    return block_[used_++];
  }
  /// Returns 64 random bits.
  std::uint64_t bits64() {
    const std::uint64_t low = bits();
    return low | std::uint64_t{bits()} << 32;
  }
  /// Returns a number uniform on [0, 1), exactly a multiple of 2^-53.
  double uniform() { return static_cast<double>(bits64() >> 11) * 0x1p-53; }
  /// Returns a number uniform on [-1, 1), exactly a multiple of 2^-52.
  double symmetric() { return 2.0 * uniform() - 1.0; }
  /// Returns an integer uniform on {0, ..., n - 1}, without bias (rejection sampling).
  std::uint64_t below(std::uint64_t n) {
    const std::uint64_t excess = (0 - n) % n;  // 2^64 mod n
    for (;;) {
      const std::uint64_t draw = bits64();
      if (draw >= excess) return draw % n;
    }
  }
  /// Returns a uniformly random permutation of {0, ..., n - 1} (Fisher-Yates).
  std::vector<std::int64_t> permutation(std::int64_t n) {
    std::vector<std::int64_t> order(static_cast<std::size_t>(n));
    std::iota(order.begin(), order.end(), 0);
    for (std::size_t i = order.size(); i > 1; --i)
      std::swap(order[i - 1], order[static_cast<std::size_t>(below(i))]);
    return order;
  }

 private:
  void refill() {
    block_ = philox(
        {static_cast<std::uint32_t>(block_index_), static_cast<std::uint32_t>(block_index_ >> 32),
         static_cast<std::uint32_t>(stream_), static_cast<std::uint32_t>(stream_ >> 32)},
        {static_cast<std::uint32_t>(seed_), static_cast<std::uint32_t>(seed_ >> 32)});
    ++block_index_;
    used_ = 0;
  }

  std::uint64_t seed_, stream_, block_index_ = 0;
  PhiloxBlock block_{};
  unsigned used_ = 4;
};

}  // namespace equiprop
