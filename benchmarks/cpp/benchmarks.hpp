#pragma once
/// Interface for a program that runs the benchmarks: link equiprop::benchmarks and call run_benchmarks.

namespace equiprop {

/// Registers all benchmarks and runs those that the arguments of Google Benchmark select, on one thread, because they
/// are compared with the limits of one core. Returns the exit status.
int run_benchmarks(int argc, char** argv);

}  // namespace equiprop
