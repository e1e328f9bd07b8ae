// `torture`: the whole fault matrix. See --help.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/faults/cell.h"
#include "tests/faults/random_kill.h"
#include "tests/faults/sweep.h"
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
};

bool IsWanted(const Cell& cell, const std::vector<std::string>& wanted) {
  if (wanted.empty()) return true;
  for (const std::string& one : wanted) {
    if (one == cell.number || one == cell.name) return true;
  }
  return false;
}

// Prints and counts results.
class Report {
 public:
  void Add(const CellResult& result) {
    const bool skipped = !result.skipped.empty();
    const std::string seen = skipped ? "skipped: " + result.skipped
                                     : absl::StrCat(result.seen.outcome, " ", result.seen.code);
    absl::PrintF("%-4s %-66s %d  %-8s %s\n", result.ok() ? "ok" : "BAD", result.cell,
                 result.threads, result.promised, seen);
    for (const std::string& problem : result.problems) absl::PrintF("       %s\n", problem);
    fflush(stdout);
    ++runs_;
    if (!result.ok()) ++bad_;
    if (skipped) ++skipped_;
    list_.push_back({{"cell", result.cell},
                     {"threads", result.threads},
                     {"promised", result.promised},
                     {"seen", skipped ? "skipped" : result.seen.outcome},
                     {"code", result.seen.code},
                     {"ok", result.ok()},
                     {"problems", result.problems}});
  }

  void Omit(const Omission& omission) {
    absl::PrintF("--   %s: not run: %s\n", omission.number, omission.why);
    list_.push_back({{"cell", omission.number}, {"seen", "not run"}, {"why", omission.why}});
  }

  void Summarize(size_t cells) const {
    absl::PrintF("%d cells, %d runs, %d skipped, %d not as promised\n", cells, runs_, skipped_,
                 bad_);
  }
  void Write(const std::string& path) const { std::ofstream(path) << list_.dump(2) << "\n"; }
  int bad() const { return bad_; }

 private:
  nlohmann::json list_ = nlohmann::json::array();
  int runs_ = 0, bad_ = 0, skipped_ = 0;
};

size_t RunMatrix(const Arguments& arguments, Report& report) {
  size_t cells = 0;
  for (const Cell& cell : Cells()) {
    if (!IsWanted(cell, arguments.cells)) continue;
    ++cells;
    for (int threads : arguments.threads) report.Add(RunCell(cell, threads));
  }
  if (!arguments.cells.empty()) return cells;
  for (const Omission& omission : Omissions()) report.Omit(omission);
  return cells;
}

void RunSweep(const Arguments& arguments, Report& report) {
  std::vector<Fault> faults = PlanSweep(1);
  const size_t all = faults.size();
  std::erase_if(faults, [&](const Fault& fault) {
    return fault.Name().find(arguments.only) == std::string::npos;
  });
  size_t sample = 0;
  if (absl::SimpleAtoi(arguments.sweep, &sample) && sample > 0) {
    faults = Sample(std::move(faults), sample, harness::RunSeed());
  }
  absl::PrintF("the sweep: %d of %d faults", faults.size(), all);
  if (faults.size() < all) {
    absl::PrintF("; the same ones again: LIVEEXEC_SEED=%d", harness::RunSeed());
  }
  absl::PrintF("\n");
  for (const Fault& fault : faults) report.Add(RunFault(fault, 1));
}

void RunKills(const Arguments& arguments, Report& report) {
  for (uint64_t i = 0; i < arguments.kills; ++i) {
    const int threads = arguments.threads[i % arguments.threads.size()];
    report.Add(KillAtRandom(threads, harness::RunSeed() + i));
  }
}

int Torture(const Arguments& arguments) {
  Report report;
  size_t cells = 0;
  if (!arguments.no_matrix) cells = RunMatrix(arguments, report);
  if (arguments.cells.empty()) {
    RunSweep(arguments, report);
    RunKills(arguments, report);
  }
  report.Summarize(cells);
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
  app.add_option(
         "--sweep", arguments.sweep,
         "so many faults of the sweep, chosen by the seed; 0 or all: all, which takes hours")
      ->check(CLI::Number | CLI::IsMember({"all"}))
      ->capture_default_str();
  app.add_option("--only", arguments.only,
                 "only faults of the sweep whose name contains this: \"sendmsg error=EIO 2 \"");
  app.add_option("--kills", arguments.kills, "so many kills at random moments")
      ->capture_default_str();
  app.add_option("--threads", arguments.threads, "how many threads the server has")
      ->delimiter(',')
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  return liveexec::faults::Torture(arguments);
}
