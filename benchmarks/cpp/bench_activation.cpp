/// Benchmarks of exp, tanh and logistic of an array, by the kernels of each instruction set and by Eigen's array
/// functions, which use the instruction set that this program is compiled for. The arrays fit into L1, or exceed it.
///
///     cmake -S . -B build -DEQUIPROP_BUILD_BENCHMARKS=ON && cmake --build build
///     build/benchmarks/bench_activation

#include "measuring.hpp"

namespace equiprop {
namespace {

template <class T>
using Array = Eigen::Array<T, Eigen::Dynamic, 1>;

template <class T>
struct Function {
  const char* name;
  void (*run)(const Kernels<T>& kernel, const Array<T>& in, Array<T>& out);
  void (*run_eigen)(const Array<T>& in, Array<T>& out);
};

template <class T>
constexpr Function<T> functions[] = {
    {"exp",
     [](const Kernels<T>& kernel, const Array<T>& in, Array<T>& out) {
       kernel.exp(in.size(), in.data(), out.data());
     },
     [](const Array<T>& in, Array<T>& out) { out = in.exp(); }},
    {"tanh",
     [](const Kernels<T>& kernel, const Array<T>& in, Array<T>& out) {
       kernel.tanh(in.size(), in.data(), out.data());
     },
     [](const Array<T>& in, Array<T>& out) { out = in.tanh(); }},
    {"logistic",
     [](const Kernels<T>& kernel, const Array<T>& in, Array<T>& out) {
       kernel.logistic(in.size(), T(1), T(0), in.data(), out.data());
     },
     [](const Array<T>& in, Array<T>& out) { out = in.logistic(); }},
};

/// Registers run(in, out) for arrays of `count` numbers between -4 and 4.
template <class T>
void register_array(std::vector<std::string> name, std::string_view isa, Index count,
                    const auto& run) {
  name.insert(name.begin() + 1,
              {sizeof(T) == sizeof(float) ? "float" : "double", "count:" + std::to_string(count)});
  add_benchmark(name, [=](benchmark::State& timer) {
    const Array<T> in = T(4) * Array<T>::Random(count);
    Array<T> out(count);
    const double bytes = 2.0 * sizeof(T) * static_cast<double>(count);
    const Work work{.bytes = bytes, .touched = bytes, .elements = static_cast<double>(count)};
    measure(timer, work, isa, [&] {
      run(in, out);
      benchmark::ClobberMemory();
    });
  });
}

template <class T>
void register_function(const Function<T>& function, Index count) {
  for (const auto isa : kernel_isas())
    register_array<T>({function.name, std::string(isa)}, isa, count,
                      [&kernel = kernels<T>(isa), run = function.run](
                          const Array<T>& in, Array<T>& out) { run(kernel, in, out); });
  register_array<T>({function.name, "Eigen"}, kernel_isas().back(), count, function.run_eigen);
}

template <class T>
void register_all() {
  for (const auto& function : functions<T>)
    for (const Index count : {Index{2048}, Index{1} << 20}) register_function<T>(function, count);
}

const Registration registration([] {
  register_all<float>();
  register_all<double>();
});

}  // namespace
}  // namespace equiprop
