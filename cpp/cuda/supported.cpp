/// Checks of a network and of options that need no device.

#include "engine.hpp"
#include "equiprop/base/error.hpp"

namespace equiprop::cuda {

Precision precision_of(std::string_view name) {
  if (name == "exact") return Precision::exact;
  if (name == "tf32") return Precision::tf32;
  if (name == "3xtf32") return Precision::tf32x3;
  require(name == "bf16", "cuda", "A precision is \"exact\", \"tf32\", \"3xtf32\" or \"bf16\".",
          name);
  return Precision::bf16;
}

void check_supported(const NetworkFields& network) {
  const std::size_t layers = network.layers.size() - 1;
  require(layers <= 12, "cuda", "The kernels support at most 12 free layers.", layers);
  std::size_t pulls = 0;
  for (const CouplingFields& c : network.couplings) {
    require(c.source != c.target, "cuda", "The kernels support no couplings within a layer.",
            c.source, " -> ", c.target);
    if (c.source != 0 && c.target != 0) pulls += 2;
  }
  require(pulls <= 32, "cuda", "The kernels support at most 16 couplings of free layers.",
          pulls / 2);
}

}  // namespace equiprop::cuda
