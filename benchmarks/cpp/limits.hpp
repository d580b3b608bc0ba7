#pragma once
/// The limits of one core of this machine: peak multiply-add rate of each instruction set, and memory bandwidth.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <ctime>
#include <string_view>
#include <vector>

namespace equiprop {

/// Returns the processor time of this thread, which excludes time that other programs use the core.
inline double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

inline double seconds_of(const auto& run) {
  const double begin = processor_seconds();
  run();
  return processor_seconds() - begin;
}

/// Run times in seconds of repetitions of the same work. The median is used: other programs slow some repetitions down,
/// and a virtual machine may report too short a time for others, so the minimum is not reliable.
class Times {
 public:
  void add(double seconds) { seconds_.push_back(seconds); }
  double median() {
    const auto middle = seconds_.begin() + static_cast<std::ptrdiff_t>(seconds_.size() / 2);
    std::nth_element(seconds_.begin(), middle, seconds_.end());
    return *middle;
  }

 private:
  std::vector<double> seconds_;
};

typedef float Vector16 __attribute__((vector_size(16)));
typedef float Vector32 __attribute__((vector_size(32)));
typedef float Vector64 __attribute__((vector_size(64)));

/// The peak is that of fused operations, independent of how the rest is compiled.
#if defined(__clang__)
#define FUSING
#define FUSE _Pragma("clang fp contract(fast)")
#else
#define FUSING [[gnu::optimize("fp-contract=fast")]]
#define FUSE
#endif

/// Defines a function that runs twelve independent chains of multiply-add and returns the flops of `rounds` rounds. It
/// is a macro, because a function is not inlined into a function that is compiled for another instruction set.
#define CHAINS(name, Vector, ...)                                           \
  __VA_ARGS__ FUSING [[gnu::noinline]] inline double name(int rounds) {     \
    FUSE constexpr int chains = 12, lanes = sizeof(Vector) / sizeof(float); \
    Vector chain[chains] = {}, a = Vector{} + 0.5F, b = Vector{} + 1.0F;    \
    __asm__("" : "+m"(a), "+m"(b));                                         \
    for (int i = 0; i < rounds; ++i) {                                      \
      _Pragma("GCC unroll 16") for (auto& c : chain) c = c * a + b;         \
    }                                                                       \
    for (auto& c : chain) __asm__ volatile("" : : "m"(c));                  \
    return 2.0 * chains * lanes * rounds;                                   \
  }

#if defined(__x86_64__)
CHAINS(peak_flops_v2, Vector16, [[gnu::target("arch=x86-64-v2")]])
CHAINS(peak_flops_v3, Vector32, [[gnu::target("arch=x86-64-v3")]])
CHAINS(peak_flops_v4, Vector64, [[gnu::target("arch=x86-64-v4")]])
#else
CHAINS(peak_flops_generic, Vector16)
#endif
#undef CHAINS
#undef FUSING
#undef FUSE

inline double peak_flops(std::string_view isa, int rounds) {
#if defined(__x86_64__)
  if (isa == "x86-64-v4") return peak_flops_v4(rounds);
  if (isa == "x86-64-v3") return peak_flops_v3(rounds);
  return peak_flops_v2(rounds);  // the baseline has the same arithmetic
#else
  return peak_flops_generic(rounds);
#endif
}

class Peak {
 public:
  explicit Peak(std::string_view isa) : isa_(isa) {}
  void measure() {
    times_.add(seconds_of([&] { flops_ = peak_flops(isa_, 20'000); }));
  }
  double flops_per_second() { return flops_ / times_.median(); }

 private:
  std::string_view isa_;
  double flops_ = 0;
  Times times_;
};

/// Measures the bandwidth of read, add and write on an array as large as the data of a benchmark, so that it is in the
/// same cache.
class Bandwidth {
 public:
  explicit Bandwidth(double bytes) : numbers_(static_cast<std::size_t>(bytes) / sizeof(float)) {}
  void measure() {
    times_.add(seconds_of([&] {
      for (int sweep = 0; sweep < sweeps(); ++sweep) {
        for (float& number : numbers_) number += 1;
        benchmark::ClobberMemory();
      }
    }));
  }
  double bytes_per_second() {
    return 2.0 * sizeof(float) * static_cast<double>(numbers_.size()) * sweeps() / times_.median();
  }

 private:
  /// Returns a number of sweeps at which the resolution of the clock and the first cache misses are negligible.
  int sweeps() const { return 2 + static_cast<int>(100'000 / (numbers_.size() + 1)); }

  std::vector<float> numbers_;
  Times times_;
};

}  // namespace equiprop
