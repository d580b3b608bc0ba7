/// gradient model x y out: both second phases of a saved network on a batch, all as raw numbers.

#include <equiprop/equiprop.hpp>
#include <fstream>
#include <iostream>

namespace eq = equiprop;

namespace {

template <class T>
eq::State<T> read(const char* path, eq::Index rows) {
  std::ifstream stream(path, std::ios::binary | std::ios::ate);
  const auto bytes = static_cast<eq::Index>(stream.tellg());
  eq::State<T> values(rows, bytes / (rows * static_cast<eq::Index>(sizeof(T))));
  stream.seekg(0);
  stream.read(reinterpret_cast<char*>(values.data()), bytes);
  return values;
}

template <class T>
void write(std::ofstream& stream, const eq::Gradient<T>& gradient) {
  const auto bytes = [](const auto& a) {
    return a.size() * static_cast<eq::Index>(sizeof(*a.data()));
  };
  stream.write(reinterpret_cast<const char*>(gradient.parameters.data()),
               bytes(gradient.parameters));
  stream.write(reinterpret_cast<const char*>(gradient.inputs.data()), bytes(gradient.inputs));
}

template <class T>
void run(const eq::HopfieldNetwork<T>& network, char** argv) {
  const eq::State<T> x = read<T>(argv[2], network.topology().num_inputs());
  const eq::AnyEnergy<T> energy = network.clamp(x);
  const eq::AnyCost<T> cost =
      eq::SquaredError<T>(read<T>(argv[3], network.topology().num_outputs()));
  const eq::StoppingRule rule{.tolerance = 1e-4, .max_iterations = 2000};
  const eq::Solver solver = network.topology().has_block_update()
                                ? eq::Solver(eq::BlockUpdate{rule})
                                : eq::Solver(eq::Euler{rule});
  eq::State<T> state = network.initial_state(x.cols());
  eq::relax<T>(energy, solver, state);
  std::ofstream out(argv[4], std::ios::binary);
  write<T>(out, eq::equilibrium_propagation<T>(energy, cost, state,
                                               eq::centered<T>(static_cast<T>(0.125)), solver));
  const eq::ConjugateGradient linear{{.tolerance = 1e-4, .max_iterations = 100}};
  write<T>(out, eq::recurrent_backpropagation<T>(energy, cost, state, linear));
}

}  // namespace

int main(int argc, char** argv) try {
  eq::require(argc == 5, "gradient", "Usage: gradient model x y out.", argc - 1, " arguments");
  try {
    std::visit([&](const auto& network) { run(network, argv); }, eq::load_as_saved(argv[1]));
  } catch (const eq::InvalidArgument& error) {  // thrown by the library, caught by its type
    std::cerr << error.what() << '\n';
    return 2;
  }
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
