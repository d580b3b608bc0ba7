#pragma once
/// Updates of the parameters after a mini-batch, in one pass over the memory.

#include "equiprop/base/arrays.hpp"
#include "equiprop/base/kernels.hpp"
#include "equiprop/base/parallel.hpp"

namespace equiprop {

/// SGD with momentum: v <- momentum v + (gradient + decay theta), theta <- theta - rate v.
template <class S>
struct MomentumStep {
  S rate;      ///< learning rate
  S momentum;  ///< factor of the old velocity v
  S decay;     ///< factor of theta in the gradient (weight decay)

  /// Updates theta and the velocity in place; all arrays are (parameters,).
  void apply(ParametersRef<S> theta, const ConstParametersRef<S>& gradient,
             ParametersRef<S> velocity) const {
    velocity.array() = momentum * velocity.array() + (decay * theta.array() + gradient.array());
    theta.array() -= rate * velocity.array();
  }
};

/// Target of an SGD step that is taken while the gradient is computed; `velocity` is empty if momentum is 0.
template <class S>
struct Descending {
  MomentumStep<S> step;       ///< constants of the step
  ParametersRef<S> theta;     ///< parameters theta, (parameters,)
  ParametersRef<S> velocity;  ///< velocity v, (parameters,), or empty

  /// Takes the step for the parameters [begin, begin + gradient.size()).
  void apply(Index begin, const ConstParametersRef<S>& gradient) const {
    ParametersRef<S> at(theta), average(velocity);  // Ref is a view: the memory is not const
    auto part = at.segment(begin, gradient.size());
    if (average.size() > 0)
      step.apply(part, gradient, average.segment(begin, gradient.size()));
    else
      part.array() -= step.rate * (step.decay * part.array() + gradient.array());
  }
};

/// Adam (Kingma & Ba 2015) with decoupled weight decay (Loshchilov & Hutter 2019), in step t:
/// m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2,
/// theta <- (1 - rate decay) theta - (rate / (1 - b1^t)) m / (sqrt(v / (1 - b2^t)) + epsilon).
template <class S>
struct AdamStep {
  S rate;         ///< learning rate
  S beta1;        ///< decay rate b1 of the mean m
  S beta2;        ///< decay rate b2 of the mean square v
  S epsilon;      ///< lower bound of the divisor
  S decay;        ///< weight decay
  S correction1;  ///< bias correction 1 - b1^t
  S correction2;  ///< bias correction 1 - b2^t

  /// Updates theta, the mean m and the mean square v in place; all arrays are (parameters,).
  void apply(ParametersRef<S> theta, const ConstParametersRef<S>& gradient, ParametersRef<S> mean,
             ParametersRef<S> square) const {
    const AdamNumbers<S> numbers{beta1,
                                 beta2,
                                 epsilon,
                                 S(1) - rate * decay,
                                 rate / correction1,
                                 S(1) / std::sqrt(correction2)};
    kernels<S>().adam(theta.size(), numbers, gradient.data(), theta.data(), mean.data(),
                      square.data());
  }
};

/// Target of an Adam step that is taken while the gradient is computed; all arrays are (parameters,).
template <class S>
struct AdamDescending {
  AdamStep<S> step;         ///< constants of the step
  ParametersRef<S> theta;   ///< parameters theta
  ParametersRef<S> mean;    ///< mean m of the gradient
  ParametersRef<S> square;  ///< mean v of the squared gradient
};

/// Parameters per task of an update; with their gradient and averages they fit into the L2 cache of a core.
inline constexpr Index update_chunk = Index{1} << 15;

/// Applies `step` to [begin, begin + count) of theta, of the gradient and of each average.
template <class S, class Step, class... Averages>
void update(const Step& step, Index begin, Index count, ParametersRef<S> theta,
            const ConstParametersRef<S>& gradient, Averages... averages) {
  for_each_chunk(count, update_chunk, [&](Index at, Index size) {
    step.apply(theta.segment(begin + at, size), gradient.segment(begin + at, size),
               averages.segment(begin + at, size)...);
  });
}

}  // namespace equiprop
