#include "tests/faults/workers.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <map>

namespace liveexec::faults {
namespace {

std::map<size_t, std::string> ResultsOf(int processes, size_t jobs,
                                        const std::function<std::string(size_t)>& run) {
  std::map<size_t, std::string> results;
  RunInProcesses(processes, jobs, run, [&](size_t job, const std::string& text) {
    EXPECT_EQ(results.count(job), 0u) << "job " << job << " was done twice";
    results[job] = text;
  });
  return results;
}

TEST(WorkersTest, DoEachJobOnce) {
  const auto results = ResultsOf(3, 1000, [](size_t job) { return std::string(job, 'x') + "."; });
  ASSERT_EQ(results.size(), 1000u);
  for (const auto& [job, text] : results) EXPECT_EQ(text.size(), job + 1);
}

TEST(WorkersTest, TellOfAJobThatKilledItsProcess) {
  const auto results = ResultsOf(2, 5, [](size_t job) -> std::string {
    if (job == 3) abort();
    return "done";
  });
  EXPECT_EQ(results, (std::map<size_t, std::string>{
                         {0, "done"}, {1, "done"}, {2, "done"}, {3, ""}, {4, "done"}}));
}

TEST(WorkersTest, HaveNothingToDoWithoutJobs) {
  EXPECT_TRUE(ResultsOf(2, 0, [](size_t) { return "done"; }).empty());
}

}  // namespace
}  // namespace liveexec::faults
