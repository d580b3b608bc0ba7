#pragma once
/// Measurement and counters of all benchmarks.

#include <string>

#include "equiprop/equiprop.hpp"
#include "limits.hpp"

namespace equiprop {

/// The work of one call; an entry of 0 is not reported.
struct Work {
  double flops = 0;
  double bytes = 0;     ///< bytes read and written, each number counted once
  double touched = 0;   ///< size of the data in bytes
  double elements = 0;  ///< numbers whose function is computed
};

/// Returns how many calls take a tenth of a millisecond in total, so that the overhead of the clock is negligible.
inline int calls_per_block(const auto& run) {
  Times times;
  for (int i = 0; i < 5; ++i) times.add(seconds_of(run));
  return static_cast<int>(std::clamp(1e-4 / times.median(), 1.0, 1e3));
}

inline void report_flops(benchmark::State& timer, double per_second, double peak) {
  timer.counters["GFLOP/s"] = per_second * 1e-9;
  timer.counters["peak"] = peak * 1e-9;
  timer.counters["percent"] = 100 * per_second / peak;
}
inline void report_bytes(benchmark::State& timer, double per_second, double bandwidth) {
  timer.counters["GB/s"] = per_second * 1e-9;
  timer.counters["bandwidth"] = bandwidth * 1e-9;
  timer.counters["percent_bandwidth"] = 100 * per_second / bandwidth;
}

/// Runs a benchmark and sets its counters: microseconds per call, work per second in billions, and percentages of the
/// limits. The limits are measured alternately with the benchmark.
inline void measure(benchmark::State& timer, const Work& work, std::string_view isa,
                    const auto& run) {
  const int calls = calls_per_block(run);
  Times blocks;
  Peak peak(isa);
  Bandwidth bandwidth(work.touched);
  for (auto _ : timer) {
    const double seconds = seconds_of([&] {
      for (int i = 0; i < calls; ++i) run();
    });
    timer.SetIterationTime(seconds);
    blocks.add(seconds);
    if (work.flops > 0) peak.measure();
    if (work.bytes > 0) bandwidth.measure();
  }
  const double seconds = blocks.median() / calls;
  timer.counters["us"] = seconds * 1e6;
  if (work.elements > 0) timer.counters["Gelem/s"] = work.elements / seconds * 1e-9;
  if (work.flops > 0) report_flops(timer, work.flops / seconds, peak.flops_per_second());
  if (work.bytes > 0) report_bytes(timer, work.bytes / seconds, bandwidth.bytes_per_second());
}

inline std::string join(const std::vector<std::string>& parts, char separator) {
  std::string joined;
  for (const auto& part : parts) {
    if (!joined.empty()) joined.push_back(separator);
    joined.append(part);
  }
  return joined;
}

/// Registers `body(timer)` as a benchmark whose name is joined from parts.
template <class Body>
void add_benchmark(const std::vector<std::string>& name, const Body& body) {
  benchmark::RegisterBenchmark(join(name, '/').c_str(), body)->UseManualTime();
}

inline std::string batch_name(Index batch) {
  return "batch:" + std::to_string(batch);
}

/// Registers a function that registers the benchmarks of one source file; run_benchmarks calls it.
class Registration {
 public:
  using Function = void (*)();
  explicit Registration(Function function);
};

}  // namespace equiprop
