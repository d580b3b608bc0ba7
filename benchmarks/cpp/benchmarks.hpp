#pragma once
/// For a program of its own that runs the benchmarks linked into it: link equiprop::benchmarks and call this.

namespace equiprop {

/// Registers them and runs those that the arguments of Google Benchmark choose, on one thread, since the limits they
/// are compared with are those of one core. Returns the exit status.
int run_benchmarks(int argc, char** argv);

}  // namespace equiprop
