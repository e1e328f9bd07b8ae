// `torture`: the whole fault matrix. See --help.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/faults/cell.h"
#include "tests/faults/random_kill.h"
#include "tests/faults/sweep.h"
#include "tests/faults/workers.h"
#include "tests/harness/random.h"

namespace liveexec::faults {
namespace {

struct Arguments {
  std::string json;
  std::vector<std::string> cells;
  std::vector<int> threads = {1, 4};
  bool no_matrix = false;
  std::string sweep = "300";
  std::string only;
  uint64_t kills = 200;
  int jobs = 3;
};

bool IsWanted(const Cell& cell, const std::vector<std::string>& wanted) {
  if (wanted.empty()) return true;
  for (const std::string& one : wanted) {
    if (one == cell.number || one == cell.name) return true;
  }
  return false;
}

// One run of something, and what to call it when it does not come back.
struct Job {
  std::string name;
  int threads;
  std::function<CellResult()> run;
};

nlohmann::json ToJson(const CellResult& result) {
  const bool skipped = !result.skipped.empty();
  return {{"cell", result.cell},         {"threads", result.threads},
          {"promised", result.promised}, {"seen", skipped ? "skipped" : result.seen.outcome},
          {"code", result.seen.code},    {"why", result.skipped},
          {"ok", result.ok()},           {"problems", result.problems}};
}

// Prints and counts results.
class Report {
 public:
  explicit Report(size_t jobs) : results_(jobs) {}

  void Add(size_t job, const nlohmann::json& result) {
    const bool ok = result["ok"], skipped = result["seen"] == "skipped";
    const std::string seen = result["seen"], code = result["code"], why = result["why"];
    absl::PrintF("%-4s %-66s %d  %-8s %s\n", ok ? "ok" : "BAD", std::string(result["cell"]),
                 int{result["threads"]}, std::string(result["promised"]),
                 skipped ? absl::StrCat("skipped: ", why) : absl::StrCat(seen, " ", code));
    for (const std::string problem : result["problems"]) absl::PrintF("       %s\n", problem);
    fflush(stdout);
    ++runs_;
    if (!ok) ++bad_;
    if (skipped) ++skipped_;
    results_[job] = result;
  }

  void Omit(const Omission& omission) {
    absl::PrintF("--   %s: not run: %s\n", omission.number, omission.why);
    results_.push_back({{"cell", omission.number},
                        {"promised", ""},
                        {"seen", "not run"},
                        {"code", ""},
                        {"why", omission.why}});
  }

  void Summarize(size_t cells, size_t faults, size_t kills) const {
    absl::PrintF(
        "%d cells, %d faults of the sweep, %d kills: %d runs, %d skipped, "
        "%d not as promised\n",
        cells, faults, kills, runs_, skipped_, bad_);
  }
  void Write(const std::string& path) const {
    std::ofstream(path) << nlohmann::json(results_).dump(2) << "\n";
  }
  int bad() const { return bad_; }

 private:
  std::vector<nlohmann::json> results_;
  int runs_ = 0, bad_ = 0, skipped_ = 0;
};

size_t PlanMatrix(const Arguments& arguments, std::vector<Job>& jobs) {
  size_t cells = 0;
  for (const Cell& cell : Cells()) {
    if (!IsWanted(cell, arguments.cells)) continue;
    ++cells;
    for (int threads : arguments.threads) {
      jobs.push_back({absl::StrCat(cell.number, " ", cell.name), threads,
                      [&cell, threads] { return RunCell(cell, threads); }});
    }
  }
  return cells;
}

size_t PlanFaults(const Arguments& arguments, std::vector<Job>& jobs) {
  size_t sample = 0;
  const bool is_number = absl::SimpleAtoi(arguments.sweep, &sample);
  if (is_number && sample == 0) return 0;
  std::vector<Fault> faults = PlanSweep(1);
  const size_t all = faults.size();
  std::erase_if(faults, [&](const Fault& fault) {
    return fault.Name().find(arguments.only) == std::string::npos;
  });
  if (is_number) faults = Sample(std::move(faults), sample, harness::RunSeed());
  absl::PrintF("the sweep: %d of %d faults", faults.size(), all);
  if (is_number && faults.size() < all) {
    absl::PrintF("; the same ones again: LIVEEXEC_SEED=%d", harness::RunSeed());
  }
  absl::PrintF("\n");
  for (const Fault& fault : faults) {
    jobs.push_back({"sweep " + fault.Name(), 1, [fault] { return RunFault(fault, 1); }});
  }
  return faults.size();
}

void PlanKills(const Arguments& arguments, std::vector<Job>& jobs) {
  for (uint64_t i = 0; i < arguments.kills; ++i) {
    const int threads = arguments.threads[i % arguments.threads.size()];
    const uint64_t seed = harness::RunSeed() + i;
    jobs.push_back(
        {"79 KilledAtRandom", threads, [threads, seed] { return KillAtRandom(threads, seed); }});
  }
}

int Torture(const Arguments& arguments) {
  std::vector<Job> jobs;
  const size_t cells = arguments.no_matrix ? 0 : PlanMatrix(arguments, jobs);
  const bool only_cells = !arguments.cells.empty();
  const size_t faults = only_cells ? 0 : PlanFaults(arguments, jobs);
  const size_t kills = only_cells ? 0 : arguments.kills;
  if (kills > 0) PlanKills(arguments, jobs);
  Report report(jobs.size());
  RunInProcesses(
      arguments.jobs, jobs.size(), [&](size_t job) { return ToJson(jobs[job].run()).dump(); },
      [&](size_t job, const std::string& text) {
        CellResult dead{.cell = jobs[job].name, .threads = jobs[job].threads, .promised = "?"};
        dead.problems.push_back("the test itself died of it");
        report.Add(job, text.empty() ? ToJson(dead) : nlohmann::json::parse(text));
      });
  if (cells > 0 && !only_cells) {
    for (const Omission& omission : Omissions()) report.Omit(omission);
  }
  report.Summarize(cells, faults, kills);
  if (!arguments.json.empty()) report.Write(arguments.json);
  return report.bad() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace liveexec::faults

int main(int argc, char** argv) {
  liveexec::faults::Arguments arguments;
  CLI::App app("Provokes every fault of the matrix and shows what becomes of it.");
  app.add_option("--json", arguments.json, "write the results to this file");
  app.add_option("--cells", arguments.cells,
                 "only these numbers or names; then neither the sweep nor the kills")
      ->delimiter(',');
  app.add_flag("--no-matrix", arguments.no_matrix, "only the sweep and the kills");
  app.add_option("--sweep", arguments.sweep,
                 "so many faults of the sweep, chosen by the seed; or all, which takes an hour")
      ->check(CLI::Number | CLI::IsMember({"all"}))
      ->capture_default_str();
  app.add_option("--only", arguments.only,
                 "only faults of the sweep whose name contains this: \"sendmsg error=EIO 2 \"");
  app.add_option("--kills", arguments.kills, "so many kills at random moments")
      ->capture_default_str();
  app.add_option("--jobs", arguments.jobs, "so many runs at a time: most of a run is waiting")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--threads", arguments.threads, "how many threads the server has")
      ->delimiter(',')
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  return liveexec::faults::Torture(arguments);
}
