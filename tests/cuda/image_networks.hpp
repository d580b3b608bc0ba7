#pragma once
/// Networks of images on which the batch of a device is compared with that of the host.

#include "equiprop/model/convolution.hpp"
#include "networks.hpp"

namespace equiprop::device_tests {

inline Layer image(Index channels, Index height, Index width,
                   Activation activation = hard_sigmoid()) {
  return Layer{.name = "", .shape = Shape{channels, height, width}, .activation = activation};
}
inline Windows windows(Index kernel, Index stride = 1, Index padding = 0, Index dilation = 1,
                       Index groups = 1) {
  return {{kernel, kernel}, {stride, stride}, {padding, padding}, {dilation, dilation}, groups};
}
inline Layer vector_of(Index units, Activation activation = hard_sigmoid()) {
  return layer(units, activation);
}

/// One network for each kind of coupling of images, with layers of more and of fewer than 32 channels.
template <class T>
std::vector<Case<T>> image_zoo() {
  constexpr auto quadratic = Potential::quadratic;
  std::vector<Case<T>> cases;
  cases.push_back({"convolution, dense outputs",
                   drawn<T>({image(1, 6, 6), image(3, 4, 4), vector_of(3, linear())},
                            {Convolution{0, 1, windows(3)}, Dense{1, 2}})});
  cases.push_back(
      {"maxima",
       drawn<T>({image(1, 12, 12), image(4, 5, 5), image(6, 2, 2), vector_of(3, linear())},
                {MaxPooled{0, 1, windows(3)}, MaxPooled{1, 2, windows(3, 1, 1)}, Dense{2, 3}})});
  cases.push_back(
      {"means, padding, cross-entropy",
       drawn<T>({image(2, 8, 8), image(4, 4, 4), image(5, 2, 2), vector_of(4, linear())},
                {Convolution{0, 1, windows(3, 1, 1), 2}, Convolution{1, 2, windows(3, 1, 1), 2},
                 Dense{2, 3}}),
       2.0});
  cases.push_back({"strides, tanh",
                   drawn<T>({image(2, 9, 9), image(4, 5, 5, tanh_activation()),
                             image(3, 3, 3, tanh_activation()), vector_of(3, tanh_activation())},
                            {Convolution{0, 1, windows(3, 2, 1)},
                             Convolution{1, 2, windows(3, 2, 1)}, Dense{2, 3}})});
  cases.push_back({"tanh, quadratic, mean",
                   drawn<T>({image(1, 8, 8), image(4, 3, 3, tanh_activation()),
                             vector_of(3, tanh_activation())},
                            {Convolution{0, 1, windows(3), 2}, Dense{1, 2}}, quadratic)});
  cases.push_back({"three convolutions, maximum of a strided one, cross-entropy",
                   drawn<T>({image(1, 13, 13), image(35, 6, 6), image(4, 3, 3), image(3, 3, 3),
                             vector_of(4, linear())},
                            {Convolution{0, 1, windows(3, 2)}, MaxPooled{1, 2, windows(3, 1, 1)},
                             Convolution{2, 3, windows(3, 1, 1)}, Dense{3, 4}}),
                   1.5});
  cases.push_back(
      {"half hard sigmoid, quadratic, maximum of 3",
       drawn<T>({image(2, 9, 9), image(3, 9, 9, half_hard_sigmoid()),
                 image(4, 3, 3, half_hard_sigmoid()), vector_of(2, linear())},
                {Convolution{0, 1, windows(1)}, MaxPooled{1, 2, windows(3, 1, 1), 3}, Dense{2, 3}},
                quadratic)});
  cases.push_back(
      {"groups, dilation, identity, skips",
       drawn<T>(
           {image(2, 6, 6), image(4, 6, 6), image(4, 6, 6), vector_of(7), vector_of(3, linear())},
           {Convolution{0, 1, windows(3, 1, 1)}, Convolution{1, 2, windows(3, 1, 2, 2, 2)},
            Identity{1, 2, 0.5}, Dense{2, 3}, Dense{3, 4}, Dense{1, 4}, Dense{0, 3}})});
  cases.push_back({"input as target, dense input of an image",
                   drawn<T>({image(2, 4, 4), image(3, 8, 8), vector_of(5), image(2, 4, 4),
                             vector_of(3, linear())},
                            {Convolution{1, 0, windows(4, 2, 1)}, Dense{1, 2}, Identity{0, 3, 0.3},
                             Dense{0, 3}, Dense{2, 3}, Dense{3, 4}})});
  cases.push_back(
      {"separate feedback, logistic", drawn<T>({image(1, 6, 6), image(3, 6, 6, logistic(4, 0.5)),
                                                image(4, 3, 3, logistic(4, 0.5)), vector_of(3)},
                                               {Convolution{0, 1, windows(3, 1, 1)},
                                                MaxPooled{1, 2, windows(3, 1, 1), 2}, Dense{2, 3}},
                                               Potential::legendre, Feedback::separate)});
  cases.push_back({"identity of vectors",
                   drawn<T>({vector_of(6), vector_of(7), vector_of(7), vector_of(3, linear())},
                            {Dense{0, 1}, Dense{1, 2}, Identity{1, 2, 0.5}, Dense{2, 3}})});
  cases.push_back({"only outputs are an image", drawn<T>({image(1, 6, 6), image(2, 3, 3)},
                                                         {MaxPooled{0, 1, windows(3, 1, 1)}})});
  return cases;
}

}  // namespace equiprop::device_tests
