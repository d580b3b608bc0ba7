#include <benchmarks.hpp>

int main(int argc, char** argv) {
  return equiprop::run_benchmarks(argc, argv);
}
