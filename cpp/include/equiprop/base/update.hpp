#pragma once
/// The parameter update that follows a mini-batch, in one pass over the memory it touches.

#include "equiprop/base/arrays.hpp"
#include "equiprop/base/kernels.hpp"
#include "equiprop/base/parallel.hpp"

namespace equiprop {

/// v <- momentum v + (gradient + decay theta), theta <- theta - rate v, for a range of parameters.
template <class S>
struct MomentumStep {
  S rate;      ///< as in the equation
  S momentum;  ///< as in the equation
  S decay;     ///< as in the equation

  /// Takes it; all are (parameters,).
  void apply(ParametersRef<S> theta, const ConstParametersRef<S>& gradient,
             ParametersRef<S> velocity) const {
    velocity.array() = momentum * velocity.array() + (decay * theta.array() + gradient.array());
    theta.array() -= rate * velocity.array();
  }
};

/// Parameters that descend along a gradient while it is computed; `velocity` is empty where momentum is 0.
template <class S>
struct Descending {
  MomentumStep<S> step;       ///< how far
  ParametersRef<S> theta;     ///< (parameters,)
  ParametersRef<S> velocity;  ///< (parameters,), or empty

  /// Takes the gradient of some parameters, from `begin` on.
  void apply(Index begin, const ConstParametersRef<S>& gradient) const {
    ParametersRef<S> at(theta), average(velocity);  // Ref is a view: the memory is not const
    auto part = at.segment(begin, gradient.size());
    if (average.size() > 0)
      step.apply(part, gradient, average.segment(begin, gradient.size()));
    else
      part.array() -= step.rate * (step.decay * part.array() + gradient.array());
  }
};

/// m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2 and
/// theta <- (1 - rate decay) theta - (rate / (1 - b1^t)) m / (sqrt(v / (1 - b2^t)) + epsilon).
template <class S>
struct AdamStep {
  S rate;         ///< as in the equation
  S beta1;        ///< b1
  S beta2;        ///< b2
  S epsilon;      ///< as in the equation
  S decay;        ///< as in the equation
  S correction1;  ///< 1 - beta1^t
  S correction2;  ///< 1 - beta2^t

  /// Takes it; `mean` is m and `square` v, all (parameters,).
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

/// Parameters that descend by Adam along a gradient while it is computed; all are (parameters,).
template <class S>
struct AdamDescending {
  AdamStep<S> step;         ///< how far
  ParametersRef<S> theta;   ///< the parameters
  ParametersRef<S> mean;    ///< m
  ParametersRef<S> square;  ///< v
};

/// Parameters per task of an update; they fit a core's second-level cache with what belongs to them.
inline constexpr Index update_chunk = Index{1} << 15;

/// Applies `step` to [begin, begin + count) of theta, the gradient, and each kept average.
template <class S, class Step, class... Averages>
void update(const Step& step, Index begin, Index count, ParametersRef<S> theta,
            const ConstParametersRef<S>& gradient, Averages... averages) {
  for_each_chunk(count, update_chunk, [&](Index at, Index size) {
    step.apply(theta.segment(begin + at, size), gradient.segment(begin + at, size),
               averages.segment(begin + at, size)...);
  });
}

}  // namespace equiprop
