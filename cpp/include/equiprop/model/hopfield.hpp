#pragma once
/// The Hopfield energy on a graph of layers and couplings.
///
///   E(theta, x, s) = sum_k leak(s_k) - sum_edges <u_a, W u_b> - sum_k <b_k, u_k>,  u_k = signal(s_k)
///
/// with u_0 = x for the clamped input (Scellier & Bengio 2019, eq. 2; units.hpp for both published
/// leaks). Derivatives, with p_k = b_k + sum_edges W u the drive of layer k:
///
///   dE/ds          leak'(s) - signal'(s) p
///   d2E/ds2 . v    leak''(s) v - signal''(s) p v - signal'(s) (M (signal'(s) v)),  M v: inner pulls
///   dE/dW, dE/db   -u_a u_b^T,  -u_b
///
/// With separate feedback M is not symmetric: dE/ds above is then minus the velocity of a vector field
/// (Scellier et al. 2018), E itself is not defined, and M^T takes the place of M in the transpose.

#include <memory>

#include "equiprop/base/export.hpp"
#include "equiprop/base/parallel.hpp"
#include "equiprop/model/packed_weights.hpp"

namespace equiprop {

/// A network with its input fixed: an Energy. The input's drive and the packed weights are taken when it is
/// made: change the parameters, then clamp again, anew or in place. It owns what it refers to, and its parameters
/// are the network's own memory, also where its states are dual or complex and its weights W are real. Each
/// object has scratch space: use it from one thread at a time, and give each thread its own samples().
template <class S, class W = S>
class EQUIPROP_EXPORT ClampedHopfield {
 public:
  using Scalar = S;  ///< of states

  /// HopfieldNetwork::clamp makes one. Throws InvalidArgument unless x is (inputs, batch).
  ClampedHopfield(std::shared_ptr<const Topology> topology,
                  std::shared_ptr<const Parameters<W>> parameters, const ConstStateRef<S>& x);

  /// Fixes another input of the same shape and takes the parameters as they are now, in the memory of the old ones:
  /// copies share it, and so do ranges of samples, in whatever energy or solver they were put. Throws InvalidArgument
  /// if the shape is another.
  void reclamp(const Eigen::Ref<const State<S>>& x);

  /// As the concept Energy says, and its refinements in energy.hpp. A network of separate feedback weights is a vector
  /// field: its energies are NaN, and parameter_gradient, contrast and descend_contrast throw InvalidArgument.
  ///@{
  Index num_units() const { return topology_->state().size(); }
  Index num_inputs() const { return topology_->num_inputs(); }
  Index num_outputs() const { return topology_->num_outputs(); }
  Index num_parameters() const { return topology_->parameters().size(); }

  void energy(const ConstStateRef<S>& s, PerSample<S>& out) const;
  void gradient(const ConstStateRef<S>& s, StateRef<S> out) const;
  void hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                              StateRef<S> out) const;
  bool conservative() const { return topology_->feedback() == Feedback::tied; }
  void transposed_hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                         StateRef<S> out) const;
  void parameter_gradient(const ConstStateRef<S>& s, S weight, ParametersRef<S> grad) const;
  void contrast(const std::vector<State<S>>& states, const std::vector<S>& weights,
                ParametersRef<S> grad) const;
  void mixed_derivative_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                                ParametersRef<S> grad) const;
  bool descend_contrast(const std::vector<State<S>>& states, const std::vector<S>& weights,
                        const Descending<S>& descending) const requires std::floating_point<S>;
  bool descend_mixed_derivative(
      const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
      const Descending<S>& descending) const requires std::floating_point<S>;
  void input_gradient(const ConstStateRef<S>& s, S weight, StateRef<S> out) const;
  void mixed_input_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                           StateRef<S> out) const;

  void fixed_point_map(const ConstStateRef<S>& s, const Nudge<S>& nudge, StateRef<S> out) const;
  void mobility(const ConstStateRef<S>& s, const Nudge<S>& nudge, StateRef<S> out) const;
  void transposed_map_product(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                              const ConstStateRef<S>& v, StateRef<S> out) const;
  void project(StateRef<S> s) const;
  bool residual(const ConstStateRef<S>& s, const Nudge<S>& nudge, Index settled,
                PerSample<RealOf<S>>& largest) const;

  Index num_blocks() const;
  Index output_block() const;
  void block_update(Index block, const Nudge<S>& nudge, StateRef<S> s,
                    PerSample<RealOf<S>>* change = nullptr) const;
  bool block_hessian_product(Index block, const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                             StateRef<S> out) const;

  bool separable() const { return packed_ != nullptr; }  // see Kernels
  ClampedHopfield select(Samples which) const;
  ///@}

 private:
  /// What a layer sends along a coupling: scale * rows of some state. A linear signal needs no copy.
  struct Signal {
    S scale;
    ConstStateRef<S> rows;
  };

  Eigen::Map<const State<W>> weights(std::size_t coupling) const;
  Eigen::Map<const State<W>> feedback_weights(std::size_t coupling) const;
  Eigen::Map<const State<W>> matrix(const Block& block) const;
  auto rows(const ConstStateRef<S>& a, std::size_t free_layer) const;
  auto rows(StateRef<S>& a, std::size_t free_layer) const;
  std::size_t source(std::size_t coupling) const;
  std::size_t target(std::size_t coupling) const;

  void drive_by_input(std::size_t free_layer, StateRef<S> out) const;
  void take_signals(const ConstStateRef<S>& s, State<S>& signals) const;
  void prepare_signals(const ConstStateRef<S>& s) const { take_signals(s, scratch_.signal); }
  void prepare_tangents(const ConstStateRef<S>& v) const;
  Signal signal(std::size_t free_layer, const ConstStateRef<S>& s, const State<S>& signals) const;
  Signal signal(std::size_t free_layer, const ConstStateRef<S>& s) const {
    return signal(free_layer, s, scratch_.signal);
  }
  void pull_tangents(const ConstStateRef<S>& v, Op op) const;
  Signal tangent(std::size_t free_layer, const ConstStateRef<S>& v) const;

  template <class SignalOf>
  void add_pulls(const SignalOf& signal_of, State<S>& out, Op op = Op::none) const;
  bool multiply_in_kernel(const ConstStateRef<S>& v, Index block, StateRef<S>& out) const;
  void hessian_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, Op op,
                       StateRef<S>& out) const;
  void add_pulls_on(std::size_t free_layer, const ConstStateRef<S>& s, State<S>& out) const;
  void drive(const ConstStateRef<S>& s) const;
  Index batch() const { return static_cast<Index>(x_samples_.size()); }
  auto clamped_drive() const { return drive_->block(0, drive_begin_, num_units(), batch()); }
  ConstStateRef<S> clamped_x() const;
  double largest_input() const { return x_sizes_->template maxCoeff<Eigen::PropagateNaN>(); }
  std::optional<Response<S>> kernel_response(
      std::size_t free_layer, const Nudge<S>& nudge) const requires std::floating_point<S>;
  bool relax_in_kernel(std::size_t free_layer, const ConstStateRef<S>& s, const Nudge<S>& nudge,
                       StateRef<S>& out, PerSample<RealOf<S>>* change) const;
  void relax_layer(std::size_t free_layer, const ConstStateRef<S>& s, const Nudge<S>& nudge,
                   StateRef<S> out, PerSample<RealOf<S>>* change = nullptr) const;
  const State<S>* force_on(std::size_t free_layer, const Nudge<S>& nudge) const;
  Signal weighted_signal(std::size_t free_layer, const ConstStateRef<S>& s, const State<S>& signals,
                         S weight) const;
  template <class States>
  Signal summed_signal(std::size_t free_layer, const States& states,
                       const std::vector<S>& weights) const;
  template <class States>
  void prepare_contrast(const States& states, const std::vector<S>& weights) const;
  template <class States, class Sink>
  void show_contrast(const States& states, const std::vector<S>& weights, Sink& sink) const;
  template <class States>
  void add_contrast(const States& states, const std::vector<S>& weights,
                    ParametersRef<S>& grad) const;
  void prepare_mixed_derivative(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                S weight) const;
  template <class Sink>
  void show_mixed_derivative(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                             Sink& sink) const;
  static void sum_samples(const Signal& u, ParametersRef<S> out);
  ParametersRef<S> bias_gradient(std::size_t free_layer) const;
  template <class Sink>
  void show_biases(Sink& sink) const;

  std::shared_ptr<const Topology> topology_;
  std::shared_ptr<const Parameters<W>> parameters_;
  std::shared_ptr<State<S>> x_;                 // (inputs, batch), of the whole batch
  std::shared_ptr<State<S>> drive_;             // (padded units, batch): bias + W^T x
  std::shared_ptr<PerSample<double>> x_sizes_;  // max |x| of each of them, of real numbers
  std::vector<Index> x_samples_;                // those of x that are these samples
  Index drive_begin_ = 0;
  std::shared_ptr<PackedWeights<RealOf<S>>> packed_;  ///< real scalars and linear signals only

  /// Buffers of one thread, (units, batch), sized on first use; a copy starts with empty ones.
  struct Scratch {
    State<S> drive, signal, slope, tangent, pulls, response, x, change;
    std::vector<State<S>> signals;  // of several states
    std::shared_ptr<State<S>> sum;  // of these signals, weighted
    Parameters<S> biases;           // (units,): a gradient
    std::vector<OuterProduct<S>> products;
    Scratch() = default;
    Scratch(const Scratch&) {}
    Scratch& operator=(const Scratch&) { return *this; }
  };
  mutable Scratch scratch_;
};

/// Layers, couplings, and the parameters, which copies share; they are float or double.
template <class S>
class EQUIPROP_EXPORT HopfieldNetwork {
  static_assert(std::floating_point<S>,
                "clamp_as gives states of another scalar than the parameters");

 public:
  using Scalar = S;  ///< of the parameters

  /// Parameters are 0 until initialize() or load(). Throws InvalidArgument as Topology does.
  HopfieldNetwork(std::vector<Layer> layers, std::vector<Dense> couplings,
                  Potential potential = Potential::legendre, Feedback feedback = Feedback::tied)
      : topology_(std::make_shared<const Topology>(std::move(layers), std::move(couplings),
                                                   potential, feedback)),
        parameters_(
            std::make_shared<Parameters<S>>(Parameters<S>::Zero(topology_->parameters().size()))) {}

  /// The graph.
  const Topology& topology() const { return *topology_; }
  /// The flat vector theta; writable, and shared with every energy clamped from this network.
  ///@{
  Parameters<S>& parameters() { return *parameters_; }
  const Parameters<S>& parameters() const { return *parameters_; }
  ///@}

  /// Weights uniform on +-gain sqrt(6 / (fan in + fan out)) (Glorot & Bengio 2010), biases zero. The
  /// numbers depend on the seed alone, not on the scalar type. Separate feedback weights start equal to
  /// the forward ones. With gain 1 the largest singular value
  /// of a layer's weights exceeds 1, and a network with linear units excites itself; with 1/2 it
  /// usually relaxes to one fixed point.
  void initialize(std::uint64_t seed, double gain = 0.5);

  /// Fixes the input x (inputs, batch) and computes its drive, once.
  ClampedHopfield<S> clamp(const ConstStateRef<S>& x) const { return {topology_, parameters_, x}; }
  /// The same with states of another scalar T that holds S: the parameters are shared, not copied.
  template <class T>
  ClampedHopfield<T, S> clamp_as(const ConstStateRef<S>& x) const {
    return {topology_, parameters_, x.template cast<T>()};
  }
  /// The state a free phase starts from unless told otherwise, (units, batch).
  State<S> initial_state(Index batch) const;
  /// The same in place.
  void rest(StateRef<S> s) const;
  /// A copy of the network in another precision, with parameters of its own.
  template <class T>
  HopfieldNetwork<T> cast() const {
    HopfieldNetwork<T> other(topology_->layers(), topology_->couplings(), topology_->potential(),
                             topology_->feedback());
    other.parameters() = parameters_->template cast<T>();
    return other;
  }

 private:
  std::shared_ptr<const Topology> topology_;
  std::shared_ptr<Parameters<S>> parameters_;
};

extern template class HopfieldNetwork<float>;
extern template class HopfieldNetwork<double>;
extern template class ClampedHopfield<float>;
extern template class ClampedHopfield<double>;
extern template class ClampedHopfield<Complex, double>;
extern template class ClampedHopfield<Dual<double>, double>;

}  // namespace equiprop
