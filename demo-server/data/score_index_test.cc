#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "demo-server/data/value.h"

namespace liveexec::demo {
namespace {

using Model = std::vector<std::pair<double, std::string>>;

Model Sorted(const std::vector<std::pair<std::string, double>>& members) {
  Model model;
  for (const auto& [name, score] : members) model.emplace_back(score, name);
  std::sort(model.begin(), model.end());
  return model;
}

Model ContentOf(const SortedSet& set, bool reverse = false) {
  Model content;
  set.index().ForRange(
      reverse ? set.size() - 1 : 0, set.size(), reverse,
      [&](const Member* member) { content.emplace_back(member->score, member->key()); });
  return content;
}

TEST(ScoreIndex, AgreesWithASortedVectorOverRandomChanges) {
  SortedSet set(1);
  std::vector<std::pair<std::string, double>> members;
  std::mt19937 random(5);
  for (int step = 0; step < 20000; ++step) {
    const std::string name = "m" + std::to_string(random() % 3000);
    const double score = static_cast<double>(random() % 100);
    auto known = std::find_if(members.begin(), members.end(),
                              [&](const auto& member) { return member.first == name; });
    if (random() % 3 == 0) {
      ASSERT_EQ(set.Erase(name), known != members.end());
      if (known != members.end()) members.erase(known);
    } else {
      ASSERT_EQ(set.Set(name, score), known == members.end());
      if (known == members.end()) {
        members.emplace_back(name, score);
      } else {
        known->second = score;
      }
    }
  }
  const Model model = Sorted(members);
  EXPECT_EQ(ContentOf(set), model);
  Model reversed = model;
  std::reverse(reversed.begin(), reversed.end());
  EXPECT_EQ(ContentOf(set, /*reverse=*/true), reversed);
  for (size_t rank = 0; rank < model.size(); ++rank) {
    const Member* member = set.Find(model[rank].second);
    ASSERT_EQ(set.index().RankOf(*member), rank);
    ASSERT_EQ(set.index().At(rank), member);
  }
}

TEST(ScoreIndex, FindsBoundsBetweenAndAtMembers) {
  SortedSet set(1);
  for (int i = 0; i < 2000; ++i) set.Set("m" + std::to_string(i), i / 2);
  auto below = [&](double bound) {
    return set.index().PartitionPoint([=](const Member& member) { return member.score < bound; });
  };
  EXPECT_EQ(below(-1), 0u);
  EXPECT_EQ(below(0), 0u);
  EXPECT_EQ(below(0.5), 2u);
  EXPECT_EQ(below(500), 1000u);
  EXPECT_EQ(below(5000), 2000u);
}

TEST(ScoreIndex, ErasesARangeAcrossChunks) {
  SortedSet set(1);
  for (int i = 0; i < 2000; ++i) set.Set("m" + std::to_string(i), i);
  set.EraseRange(100, 1800);
  ASSERT_EQ(set.size(), 200u);
  EXPECT_EQ(set.index().At(99)->score, 99);
  EXPECT_EQ(set.index().At(100)->score, 1900);
}

}  // namespace
}  // namespace liveexec::demo
