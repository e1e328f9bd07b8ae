#include "demo-server/data/dict.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace liveexec::demo {
namespace {

struct Number : DictNode<Number> {
  explicit Number(int v) : value(v) {}
  int value;
};
using Numbers = Dict<Number>;

void Put(Numbers& dict, const std::string& key, int value = 0) {
  dict.Insert(key, dict.HashOf(key), value);
}

std::string Key(int i) { return "key" + std::to_string(i); }

// Goes through a whole scan; `between` runs after each step.
template <typename Between>
std::multiset<std::string> ScanAll(Numbers*& dict, Between between) {
  std::multiset<std::string> seen;
  uint64_t cursor = 0;
  do {
    cursor = dict->Scan(cursor, [&](Number* node) { seen.emplace(node->key()); });
    EXPECT_LT(cursor, uint64_t{1} << 48);
    between();
  } while (cursor != 0);
  return seen;
}

TEST(Dict, AgreesWithAMapOverRandomChanges) {
  Numbers dict(1);
  std::map<std::string, int> model;
  std::mt19937 random(7);
  for (int step = 0; step < 200000; ++step) {
    // Grows for a while, then shrinks, so that both kinds of moving happen.
    const bool growing = step / 50000 % 2 == 0;
    const std::string key = Key(static_cast<int>(random() % 20000));
    Number* node = dict.Find(key);
    ASSERT_EQ(node != nullptr, model.contains(key));
    if (node == nullptr && (growing || random() % 8 == 0)) {
      Put(dict, key, step);
      model[key] = step;
    } else if (node != nullptr && (!growing || random() % 8 == 0)) {
      ASSERT_EQ(node->value, model[key]);
      dict.Erase(node);
      model.erase(key);
    }
    ASSERT_EQ(dict.size(), model.size());
  }
  for (const auto& [key, value] : model) ASSERT_EQ(dict.Find(key)->value, value);
}

TEST(Dict, KeepsInsertionOrderWhileSmall) {
  Numbers dict(1);
  for (const char* key : {"d", "a", "c", "b"}) Put(dict, key);
  dict.Erase(dict.Find("a"));
  Put(dict, "a");
  std::vector<std::string> order;
  for (const Number* node : dict.nodes()) order.emplace_back(node->key());
  EXPECT_EQ(order, (std::vector<std::string>{"d", "c", "b", "a"}));
}

TEST(Dict, HoldsKeysOfAnyBytes) {
  Numbers dict(1);
  const std::string binary("\0\r\n\xff", 4);
  Put(dict, binary, 1);
  Put(dict, "", 2);
  EXPECT_EQ(dict.Find(binary)->value, 1);
  EXPECT_EQ(dict.Find("")->value, 2);
  EXPECT_EQ(dict.Find(binary)->key(), binary);
}

TEST(Dict, ScanVisitsEverythingOnce) {
  Numbers dict(3);
  for (int i = 0; i < 5000; ++i) Put(dict, Key(i));
  Numbers* current = &dict;
  const auto seen = ScanAll(current, [] {});
  EXPECT_EQ(seen.size(), 5000u);
  EXPECT_EQ(std::set<std::string>(seen.begin(), seen.end()).size(), 5000u);
}

TEST(Dict, ScanVisitsWhatStaysExactlyOnceWhileTheTableGrowsAndShrinks) {
  Numbers dict(3);
  for (int i = 0; i < 1000; ++i) Put(dict, Key(i));
  int next = 1000;
  int step = 0;
  Numbers* current = &dict;
  const auto seen = ScanAll(current, [&] {
    if (++step % 600 < 300) {
      for (int i = 0; i < 40; ++i) Put(dict, Key(next++));
    } else {
      for (int i = 0; i < 40 && next > 1000; ++i) dict.Erase(dict.Find(Key(--next)));
    }
  });
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(seen.count(Key(i)), 1u) << Key(i);
}

TEST(Dict, AScanGoesOnInATableThatAnotherProgramRebuilt) {
  auto old_table = std::make_unique<Numbers>(3);
  for (int i = 0; i < 1000; ++i) Put(*old_table, Key(i));
  auto rebuilt = std::make_unique<Numbers>(3);
  rebuilt->Reserve(100000);  // of quite another size
  for (int i = 999; i >= 0; --i) Put(*rebuilt, Key(i));
  Numbers* current = old_table.get();
  int step = 0;
  const auto seen = ScanAll(current, [&] {
    if (++step == 100) current = rebuilt.get();
  });
  EXPECT_EQ(seen.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(seen.count(Key(i)), 1u) << Key(i);
}

TEST(Dict, ScanOfACursorFromNowhereEnds) {
  Numbers dict(3);
  for (int i = 0; i < 100; ++i) Put(dict, Key(i));
  for (uint64_t cursor : {~uint64_t{0}, uint64_t{1}, uint64_t{1} << 47, uint64_t{1} << 60}) {
    int steps = 0;
    for (uint64_t at = cursor; (at = dict.Scan(at, [](Number*) {})) != 0;) ASSERT_LT(++steps, 1000);
  }
}

}  // namespace
}  // namespace liveexec::demo
