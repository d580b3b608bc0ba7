#include "support.hpp"

namespace equiprop::tests {
namespace {

TEST(Layout, PlacesBlocksOneAfterAnother) {
  Layout layout;
  EXPECT_EQ(layout.size(), 0);
  layout.append("W", 3, 4);
  layout.append("empty", 0, 5);
  layout.append("b", 7);
  EXPECT_EQ(layout.size(), 19);
  ASSERT_EQ(layout.blocks().size(), 3);
  Index offset = 0;
  for (const Block& block : layout.blocks()) {
    EXPECT_EQ(block.offset, offset);
    EXPECT_EQ(block.size(), block.rows * block.columns);
    offset += block.size();
  }
  EXPECT_EQ(layout[2].name, "b");
  EXPECT_EQ(layout[2].columns, 1);
}

}  // namespace
}  // namespace equiprop::tests
