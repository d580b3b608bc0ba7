#include "benchmarks.hpp"

#include "measuring.hpp"

namespace equiprop {

std::vector<Registration::Function>& registrations() {
  static std::vector<Registration::Function> all;
  return all;
}

Registration::Registration(Function function) {
  registrations().push_back(function);
}

int run_benchmarks(int argc, char** argv) {
  set_num_threads(1);
  for (const auto function : registrations()) function();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::AddCustomContext("kernels", std::string(kernel_isa()));
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace equiprop
