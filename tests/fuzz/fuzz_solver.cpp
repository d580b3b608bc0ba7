/// Solvers against an oracle: what a solver calls converged is a fixed point by dense algebra.

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

/// Returns max |T(s) - s| by dense algebra.
double residual(const ReferenceNetwork<double>& reference, const State<double>& s) {
  State<double> image(s.rows(), s.cols());
  reference.fixed_point_map(s, {}, image);
  return (image - s).cwiseAbs().maxCoeff();
}

/// Returns true if no state can grow without bound, so that the energy has a minimum.
bool is_bounded(const Case& c) {
  return std::all_of(c.layers.begin() + 1, c.layers.end(), [](const Layer& layer) {
    const auto* clip = std::get_if<Clip>(&layer.activation);
    return clip != nullptr ? clip->bounded() : !std::holds_alternative<Softplus>(layer.activation);
  });
}

/// Block updates descend the energy and converge if it has a minimum. Where the step of another solver is too large, its report says so.
void check(const Case& c, Bytes& bytes) {
  const HopfieldNetwork<double> network = network_of(c, bytes);
  State<double> x(network.topology().num_inputs(), 1 + bytes.next() % 3);
  for (auto& value : x.reshaped()) value = bytes.number();
  const StoppingRule rule{1e-11, 20000};
  for (const Solver& solver :
       std::vector<Solver>{BlockUpdate{rule}, FixedPointIteration{rule, 0.3}, Euler{rule, 0.08}}) {
    const std::string which = c.name + ", solver " + std::to_string(solver.index());
    State<double> s = network.initial_state(x.cols());
    const Report report = relax<double>(network.clamp(x), solver, s);
    for (Index j = 0; j < s.cols(); ++j) {
      const ReferenceNetwork<double> reference(network.topology(), network.parameters(), x.col(j));
      const bool converged = report.status(j) == Status::converged;
      must(converged || !is_bounded(c) || !std::holds_alternative<BlockUpdate>(solver),
           "Blocks converge.", which);
      must(!converged || residual(reference, s.col(j)) < 1e-10,
           "What has converged is a fixed point of the oracle.", which);
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
