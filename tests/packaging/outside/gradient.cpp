/// gradient FOLDER float|double kernels|Eigen INPUTS HIDDEN OUTPUTS BATCH
///
/// Reads parameters, x and y from raw files of FOLDER and writes the gradients of both second phases there. "kernels"
/// is a network that relaxes by the packed kernels, "Eigen" one whose products are Eigen's.

#include <equiprop/equiprop.hpp>
#include <fstream>
#include <iostream>

using namespace equiprop;

namespace {

struct Setting {
  std::string folder;
  bool kernels;
  Index inputs, hidden, outputs, batch;
};

template <class Array>
void read(const std::string& path, Array& array) {
  std::ifstream file(path, std::ios::binary);
  const auto size = static_cast<std::streamsize>(sizeof(typename Array::Scalar)) *
                    static_cast<std::streamsize>(array.size());
  if (!file.read(reinterpret_cast<char*>(array.data()), size)) throw std::runtime_error(path);
}

template <class Array>
void write(const std::string& path, const Array& array) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(array.data()),
             static_cast<std::streamsize>(sizeof(typename Array::Scalar)) *
                 static_cast<std::streamsize>(array.size()));
}

template <class S>
HopfieldNetwork<S> make_network(const Setting& of) {
  const Activation hidden = of.kernels ? hard_sigmoid() : tanh_activation();
  return {{{"input", of.inputs, linear()},
           {"hidden", of.hidden, hidden},
           {"output", of.outputs, linear()}},
          chain(3),
          of.kernels ? Potential::legendre : Potential::quadratic};
}

template <class S>
AnyCost<S> make_cost(const Setting& of, const State<S>& y) {
  if (of.kernels) return SquaredError<S>(y);
  return CrossEntropy<S>(y);
}

template <class S>
void run(const Setting& of) {
  HopfieldNetwork<S> network = make_network<S>(of);
  State<S> x(of.inputs, of.batch), y(of.outputs, of.batch);
  read(of.folder + "/parameters", network.parameters());
  read(of.folder + "/x", x);
  read(of.folder + "/y", y);

  const AnyEnergy<S> energy = network.clamp(x);
  const AnyCost<S> cost = make_cost<S>(of, y);
  const StoppingRule rule{.tolerance = 1e-5, .max_iterations = 500};
  const Solver solver = of.kernels ? Solver(BlockUpdate{rule}) : FixedPointIteration{rule, 0.5};
  State<S> s = network.initial_state(of.batch);
  relax<S>(energy, solver, s);
  const auto by_propagation =
      equilibrium_propagation<S>(energy, cost, s, centered<S>(0.25), solver);
  const auto by_backpropagation = recurrent_backpropagation<S>(
      energy, cost, s, ConjugateGradient{{.tolerance = 1e-4, .max_iterations = 100}});
  write(of.folder + "/eqprop", by_propagation.parameters);
  write(of.folder + "/rbp", by_backpropagation.parameters);
  write(of.folder + "/inputs", by_propagation.inputs);

  // A program uses Eigen for its own ends as well, perhaps compiled for another instruction set than the library.
  const State<S> own = x * x.transpose();
  std::cout << own.array().tanh().exp().sum() << ' ' << (x.transpose() * x).sum() << '\n';
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 8) return 2;
  const auto number = [&](int i) { return static_cast<Index>(std::stol(argv[i])); };
  const Setting of{argv[1],  std::string(argv[3]) == "kernels", number(4), number(5), number(6),
                   number(7)};
  if (std::string(argv[2]) == "float")
    run<float>(of);
  else
    run<double>(of);
}
