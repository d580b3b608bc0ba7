#pragma once
/// The batch of the host and that of a device with equal functions, and the same mini-batch by dense algebra.

#include <algorithm>

#include "equiprop/cuda/device_batch.hpp"
#include "equiprop/second_phase/host_batch.hpp"
#include "equiprop/second_phase/recurrent_backpropagation.hpp"
#include "networks.hpp"
#include "reference.hpp"

namespace equiprop::device_tests {

/// Returns the cost of a case with the targets y (outputs, batch).
template <class T, class S>
AnyCost<S> cost_of(const Case<T>& of, const State<S>& y) {
  if (of.logit_scale == 0) return SquaredError<S>(y);
  return CrossEntropy<S>(y, of.logit_scale);
}

/// A mini-batch in the memory of the host, which relaxes no sample further than the solver says.
template <class T>
class OnHost : public HostBatch<T> {
 public:
  OnHost(const Case<T>& of, const Data<T>& data)
      : HostBatch<T>(of.network.clamp(data.x), cost_of<T>(of, data.y)), network_(of.network) {
    this->set_judging(Judging::none);
  }
  /// Relaxes E into free_slot, from rest or from `start`.
  Report relax_free(const Solver& solver, const State<T>& start = {}) {
    const auto from_start = [&](Index begin, StateRef<T> s) {
      if (start.size() > 0)
        s = start.middleCols(begin, s.cols());
      else
        network_.rest(s);
    };
    return HostBatch<T>::relax_free(solver, from_start, free_slot);
  }

 private:
  HopfieldNetwork<T> network_;
};

/// A mini-batch in the memory of a device.
template <class T>
class OnDevice : public cuda::DeviceBatch<T> {
 public:
  OnDevice(const Case<T>& of, const Data<T>& data, const cuda::Division& division = {.threads = 64})
      : cuda::DeviceBatch<T>(of.network, data.x.cols(), division) {
    this->clamp(data.x, data.y, of.logit_scale);
  }
  /// Relaxes E into free_slot, from rest or from `start`.
  Report relax_free(const Solver& solver, const State<T>& start = {}) {
    if (start.size() == 0) return cuda::DeviceBatch<T>::relax_free(solver, free_slot);
    this->write(nudged_slot, start);
    return cuda::DeviceBatch<T>::relax_free(solver, free_slot, nudged_slot);
  }
};

/// Returns the state in a slot of a batch.
template <class B>
State<typename B::Scalar> state_in(const B& batch, Slot slot, Index units) {
  State<typename B::Scalar> s(units, batch.samples());
  batch.read(slot, s);
  return s;
}

/// A network by dense algebra, with the number of the block that has the outputs: nudged phases begin with it.
class DenseNetwork : public tests::ReferenceNetwork<double> {
 public:
  DenseNetwork(const Topology& topology, const Parameters<double>& theta, const State<double>& x)
      : tests::ReferenceNetwork<double>(topology, theta, x) {
    const auto& blocks = topology.blocks();
    while (std::ranges::find(blocks[static_cast<std::size_t>(output_block_)],
                             topology.num_free() - 1) ==
           blocks[static_cast<std::size_t>(output_block_)].end())
      ++output_block_;
  }
  Index output_block() const { return output_block_; }
  void block_update(Index block, const Nudge<double>& nudge, StateRef<double> s,
                    PerSample<double>* change = nullptr) const {
    const State<double> before = s;
    tests::ReferenceNetwork<double>::block_update(block, nudge, s);
    if (change == nullptr) return;
    const PerSample<double> moved = (s - before).cwiseAbs().colwise().maxCoeff().transpose();
    *change = change->max(moved);
  }

 private:
  Index output_block_ = 0;
};

/// A mini-batch of a case by dense algebra in double precision, one sample independent of the others.
class Reference {
 public:
  template <class T>
  Reference(const Case<T>& of, const Data<T>& data)
      : topology_(of.network.topology()),
        theta_(of.network.parameters().template cast<double>()),
        x_(data.x.template cast<double>()),
        network_(topology_, theta_, x_),
        cost_(cost_of<T, double>(of, data.y.template cast<double>())) {}

  const AnyCost<double>& cost() const { return cost_; }
  Index units() const { return topology_.state().size(); }

  /// Relaxes E, or E + beta C, from s in place.
  Report relax(const Solver& solver, std::optional<double> beta, State<double>& s) const {
    const AnyEnergy<double> energy(network_);
    if (!beta) return equiprop::relax<double>(energy, solver, s);
    return equiprop::relax<double>(TotalEnergy<double>(energy, cost_, *beta), solver, s);
  }
  /// Returns max |T(s) - s| of each sample for E + beta C.
  PerSample<double> residual(double beta, const State<double>& s) const {
    State<double> image(s.rows(), s.cols());
    TotalEnergy<double>(AnyEnergy<double>(network_), cost_, beta).fixed_point_map(s, {}, image);
    return (image - s).cwiseAbs().colwise().maxCoeff();
  }
  /// Returns the solution of H lambda = dC/ds at s on the units that no bound holds, for H or its transpose.
  State<double> side_network(const State<double>& s, bool transposed) const {
    const Index n = units();
    State<double> lambda(n, s.cols()), mobility(n, s.cols()), pull(n, s.cols());
    network_.mobility(s, {}, mobility);
    cost_gradient<double>(cost_, s, pull);
    for (Index j = 0; j < s.cols(); ++j) {
      std::vector<Index> free;
      for (Index i = 0; i < n; ++i)
        if (mobility(i, j) != 0) free.push_back(i);
      const State<double> x = x_.col(j).replicate(1, n), at = s.col(j).replicate(1, n);
      State<double> hessian(n, n);
      tests::ReferenceNetwork<double>(topology_, theta_, x)
          .hessian_vector_product(at, State<double>::Identity(n, n), hessian);
      if (transposed) hessian.transposeInPlace();
      lambda.col(j) = tests::solve_on(free, hessian, pull.col(j));
    }
    return lambda;
  }

  /// Sums over the samples with weights, and the derivative by the input of each sample.
  struct Sums {
    Parameters<double> parameters;
    State<double> inputs;
  };
  /// Returns sum_j weights_j dE/dtheta(s_j), and weights_j dE/dx_j.
  Sums gradient(const State<double>& s, const PerSample<double>& weights) const {
    return sums(weights, [&](const auto& network, Index j, auto& by_theta, auto by_x) {
      network.parameter_gradient(s.col(j), weights(j), by_theta);
      network.input_gradient(s.col(j), weights(j), by_x);
    });
  }
  /// Returns sum_j weights_j <v_j, d2E/dtheta ds> at s_j, and the derivative by x_j.
  Sums mixed(const State<double>& s, const State<double>& v,
             const PerSample<double>& weights) const {
    return sums(weights, [&](const auto& network, Index j, auto& by_theta, auto by_x) {
      network.mixed_derivative_product(s.col(j), v.col(j), weights(j), by_theta);
      network.mixed_input_product(s.col(j), v.col(j), weights(j), by_x);
    });
  }

 private:
  template <class Add>
  Sums sums(const PerSample<double>& weights, const Add& add) const {
    Sums out{Parameters<double>::Zero(theta_.size()), State<double>::Zero(x_.rows(), x_.cols())};
    for (Index j = 0; j < weights.size(); ++j) {
      ParametersRef<double> by_theta(out.parameters);
      add(tests::ReferenceNetwork<double>(topology_, theta_, x_.col(j)), j, by_theta,
          StateRef<double>(out.inputs.col(j)));
    }
    return out;
  }

  Topology topology_;
  Parameters<double> theta_;
  State<double> x_;
  DenseNetwork network_;
  AnyCost<double> cost_;
};

/// Largest error of a state or a sum after a few steps: rounding errors of some hundred sums of up to 130 terms, about 1e4
/// eps in the worst case.
template <class T>
double rounding() {
  return std::same_as<T, float> ? 2e-6 : 1e-12;
}

/// Returns the largest difference of two arrays.
template <class A, class B>
double difference(const A& a, const B& b) {
  return static_cast<double>(
      (a.template cast<double>() - b.template cast<double>()).array().abs().maxCoeff());
}
/// Returns the largest difference of two arrays, relative to the largest number of the second one.
template <class A, class B>
double relative(const A& a, const B& b) {
  return difference(a, b) / static_cast<double>(b.array().abs().maxCoeff());
}

template <class Rule>
Solver with(Rule rule, double tolerance, Index limit) {
  rule.tolerance = tolerance;
  rule.max_iterations = limit;
  return rule;
}

/// A batch of the type B on each network of the zoo, with its reference.
template <class B>
struct Probe {
  using T = typename B::Scalar;
  static constexpr Index samples = 11;

  explicit Probe(const Case<T>& case_)
      : of(case_),
        data(data_of(of.network, samples)),
        batch(of, data),
        reference(of, data),
        size(of.network.parameters().size()) {}

  /// Returns the state in a slot.
  State<T> state(Slot slot) const { return state_in(batch, slot, reference.units()); }
  /// Writes a state near that in the free slot, different for each seed, into a slot, and returns it.
  State<double> write_near(Slot slot, unsigned seed) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<double> uniform(0.1, 0.9);
    State<T> s(reference.units(), samples);
    for (T& number : s.reshaped()) number = static_cast<T>(uniform(random));
    batch.write(slot, s);
    return s.template cast<double>();
  }
  /// Sets weights of the samples, and returns them.
  PerSample<double> weigh(bool weighted) {
    PerSample<T> weights = PerSample<T>::Ones(samples);
    if (weighted) weights = PerSample<T>::LinSpaced(samples, T(0), T(2));
    batch.set_sample_weights(weighted ? weights : PerSample<T>());
    return weights.template cast<double>();
  }

  Case<T> of;
  Data<T> data;
  B batch;
  Reference reference;
  Index size;  ///< number of parameters
};

/// Calls check(probe) for each network of the zoo, and names the network in every failure.
template <class B, class Check>
void on_the_zoo(const Check& check) {
  for (const Case<typename B::Scalar>& of : zoo<typename B::Scalar>()) {
    SCOPED_TRACE(of.name);
    Probe<B> probe(of);
    check(probe);
  }
}

using Batches = testing::Types<OnHost<float>, OnHost<double>, OnDevice<float>, OnDevice<double>>;
using BatchesInDouble = testing::Types<OnHost<double>, OnDevice<double>>;

/// Names of the types in the names of the tests.
struct NameOf {
  template <class B>
  static std::string GetName(int) {
    const std::string scalar = std::same_as<typename B::Scalar, float> ? "Float" : "Double";
    const bool host = std::derived_from<B, HostBatch<typename B::Scalar>>;
    return (host ? "Host" : "Device") + scalar;
  }
};

}  // namespace equiprop::device_tests
