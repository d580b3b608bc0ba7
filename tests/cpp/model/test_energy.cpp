/// Every energy against its own derivatives; a new energy needs three lines here.

#include "support.hpp"

namespace equiprop::tests {
namespace {

TEST(Energy, AUsersModelObeysEveryLaw) {
  Random random(1);
  for (const Index units : {1, 2, 7}) {
    const EnergyFamily family = chain_family(random, units, 3);
    check_energy(family, random_state(random, units, 3));
  }
}

void check_network(const Case& c) {
  Random random(2);
  const auto network = make_network(c);
  for (const Index batch : {1, 3, 0}) {
    const State<double> x = random_state(random, network.topology().num_inputs(), batch);
    check_energy(make_family(network, x), interior_state(network, random, batch));
  }
}

TEST(Energy, EveryNetworkObeysEveryLaw) {
  for_each<Case>(is_any, check_network);
}

TEST(Energy, EveryVectorFieldObeysTheLawsOfOne) {
  for_each_of<Case>(fields(), is_any, check_network);
}

}  // namespace
}  // namespace equiprop::tests
