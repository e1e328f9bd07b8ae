// `torture`: the whole fault matrix. See --help.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "tests/faults/cell.h"

namespace liveexec::faults {
namespace {

struct Arguments {
  std::string json;
  std::vector<std::string> cells;
  std::vector<int> threads = {1, 4};
};

bool IsWanted(const Cell& cell, const std::vector<std::string>& wanted) {
  if (wanted.empty()) return true;
  for (const std::string& one : wanted) {
    if (one == cell.number || one == cell.name) return true;
  }
  return false;
}

void Print(const CellResult& result) {
  const std::string seen = !result.skipped.empty()
                               ? "skipped: " + result.skipped
                               : absl::StrCat(result.seen.outcome, " ", result.seen.code);
  absl::PrintF("%-4s %-62s %d  %-5s %s\n", result.ok() ? "ok" : "BAD", result.cell, result.threads,
               result.promised, seen);
  for (const std::string& problem : result.problems) absl::PrintF("       %s\n", problem);
  fflush(stdout);
}

int Torture(const Arguments& arguments) {
  nlohmann::json list = nlohmann::json::array();
  int runs = 0, bad = 0;
  for (const Cell& cell : Cells()) {
    if (!IsWanted(cell, arguments.cells)) continue;
    for (int threads : arguments.threads) {
      const CellResult result = RunCell(cell, threads);
      Print(result);
      ++runs;
      if (!result.ok()) ++bad;
      list.push_back({{"cell", result.cell},
                      {"threads", threads},
                      {"promised", result.promised},
                      {"seen", result.skipped.empty() ? result.seen.outcome : "skipped"},
                      {"code", result.seen.code},
                      {"problems", result.problems}});
    }
  }
  absl::PrintF("%d runs, %d not as promised\n", runs, bad);
  if (!arguments.json.empty()) std::ofstream(arguments.json) << list.dump(2) << "\n";
  return bad == 0 ? 0 : 1;
}

}  // namespace
}  // namespace liveexec::faults

int main(int argc, char** argv) {
  liveexec::faults::Arguments arguments;
  CLI::App app("Provokes every fault of the matrix and shows what becomes of it.");
  app.add_option("--json", arguments.json, "write the results to this file");
  app.add_option("--cells", arguments.cells, "only these numbers or names")->delimiter(',');
  app.add_option("--threads", arguments.threads, "how many threads the server has")
      ->delimiter(',')
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  return liveexec::faults::Torture(arguments);
}
