/// Solvers against an oracle: the fixed point that each solver reaches is that of damped iteration by dense algebra.

#include "fuzzing.hpp"
#include "reference.hpp"

namespace equiprop::tests {
namespace {

using fuzzing::must;

/// Numbers from bytes; after the last byte they are 0.
class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : at_(data), end_(data + size) {}
  unsigned next() { return at_ < end_ ? *at_++ : 0; }
  double number() { return next() / 128.0 - 1; }  ///< in [-1, 1)

 private:
  const std::uint8_t *at_, *end_;
};

HopfieldNetwork<double> network_of(const Case& c, Bytes& bytes) {
  HopfieldNetwork<double> network = make_network(c, bytes.next());
  for (std::size_t k = 0; k < network.topology().num_free(); ++k) {
    const Block& bias = network.topology().bias(k);
    for (Index i = 0; i < bias.rows; ++i) network.parameters()(bias.offset + i) = bytes.number();
  }
  return network;
}

State<double> oracle(const ReferenceNetwork<double>& reference, State<double> s) {
  State<double> image(s.rows(), s.cols());
  for (int k = 0; k < 5000; ++k) {
    reference.fixed_point_map(s, {}, image);
    if ((image - s).cwiseAbs().maxCoeff() < 1e-14) break;
    s = 0.7 * s + 0.3 * image;
  }
  return s;
}

double distance(const State<double>& a, const State<double>& b) {
  return (a - b).cwiseAbs().maxCoeff() / (1 + b.cwiseAbs().maxCoeff());
}

/// Euler's step is fixed: where it is too large, which depends on the curvature, its report says so.
void check(const Case& c, Bytes& bytes) {
  const HopfieldNetwork<double> network = network_of(c, bytes);
  State<double> x(network.topology().num_inputs(), 1 + bytes.next() % 3);
  for (auto& value : x.reshaped()) value = bytes.number();
  const ReferenceNetwork<double> reference(network.topology(), network.parameters(), x);
  const State<double> start = network.initial_state(x.cols()), expected = oracle(reference, start);
  const StoppingRule rule{1e-11, 20000};
  for (const Solver& solver :
       std::vector<Solver>{FixedPointIteration{rule, 0.3}, Euler{rule, 0.08}, BlockUpdate{rule}}) {
    const std::string which = c.name + ", solver " + std::to_string(solver.index());
    State<double> s = start;
    const Report report = relax<double>(network.clamp(x), solver, s);
    for (Index j = 0; j < s.cols(); ++j) {
      const bool converged = report.status(j) == Status::converged;
      must(converged || std::holds_alternative<Euler>(solver), "The solver converges.", which);
      must(!converged || distance(s.col(j), expected.col(j)) < 1e-8,
           "What has converged is the fixed point of the oracle.", which);
    }
  }
}

}  // namespace
}  // namespace equiprop::tests

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  equiprop::tests::Bytes bytes(data, size);
  const auto& cases = equiprop::tests::zoo();
  equiprop::tests::check(cases[bytes.next() % cases.size()], bytes);
  return 0;
}
