// The short form of ./dev drift, and the proof that drift would be seen.
#include <unistd.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/drift/drift_run.h"

namespace liveexec::drift {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(Drift, TwoHundredUpgradesOfOneProcessLeaveNothingBehind) {
  auto report = RunDrift({.upgrades = 200, .samples = 5}, [](const Sample&) {});
  ASSERT_TRUE(report.ok()) << report.status();
  ASSERT_GE(report->samples.size(), 5u);
  EXPECT_EQ(report->samples.back().upgrade, 200);
  EXPECT_THAT(report->findings, IsEmpty()) << report->ToString();
}

Sample Steady() {
  Sample sample;
  sample.upgrade = 70;
  sample.snapshot = *harness::TakeSnapshot(getpid());
  sample.snapshot.environment = {"LIVEEXEC_CHANNEL=4:upgrade:0011", "PATH=/bin"};
  sample.peak_virtual_bytes = 100 << 20;
  sample.mappings = 60;
  return sample;
}

TEST(Drift, TheSameTwiceIsNoDriftWhateverTheNonceIs) {
  Sample later = Steady();
  later.snapshot.environment = {"LIVEEXEC_CHANNEL=4:upgrade:ffee", "PATH=/bin"};
  EXPECT_THAT(drift::Drift(Steady(), later), IsEmpty());
}

// Runs `change` on a sample and returns what is found.
template <typename Change>
std::vector<std::string> FoundAfter(Change change) {
  const Sample first = Steady();
  Sample later = first;
  change(later);
  return drift::Drift(first, later);
}

TEST(Drift, WhateverChangesIsFound) {
  EXPECT_THAT(FoundAfter([](Sample& s) { s.snapshot.fds.push_back({.kind = "eventfd"}); }),
              Contains(HasSubstr("+ eventfd")));
  EXPECT_THAT(FoundAfter([](Sample& s) { s.snapshot.resident_bytes += 80 << 20; }),
              Contains(HasSubstr("resident memory")));
  EXPECT_THAT(FoundAfter([](Sample& s) { s.peak_virtual_bytes += 160 << 20; }),
              Contains(HasSubstr("peak virtual memory")));
  EXPECT_THAT(FoundAfter([](Sample& s) { s.mappings += 20; }), Contains(HasSubstr("mappings")));
  EXPECT_THAT(FoundAfter([](Sample& s) { ++s.snapshot.threads; }), Contains(HasSubstr("threads")));
  EXPECT_THAT(FoundAfter([](Sample& s) { s.snapshot.comm = "4"; }), Contains(HasSubstr("comm")));
  EXPECT_THAT(FoundAfter([](Sample& s) { s.snapshot.nice = 3; }), Contains(HasSubstr("nice")));
  EXPECT_THAT(FoundAfter([](Sample& s) { s.snapshot.signals["SigBlk"] = "1"; }),
              Contains(HasSubstr("SigBlk")));
  EXPECT_THAT(FoundAfter([](Sample& s) { s.snapshot.limits["Max open files"] = "9 9 files"; }),
              Contains(HasSubstr("Max open files")));
  EXPECT_THAT(FoundAfter([](Sample& s) { s.snapshot.environment[0][17] = '5'; }),
              Contains(HasSubstr("environment")));
  EXPECT_THAT(FoundAfter([](Sample& s) { s.snapshot.children.push_back({.pid = 7, .comm = "x"}); }),
              Contains(HasSubstr("child")));
}

}  // namespace
}  // namespace liveexec::drift
