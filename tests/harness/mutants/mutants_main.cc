// ./dev mutants: the harness against servers with known faults. Each must be caught and named; the
// good ones must pass.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "tests/harness/clock.h"
#include "tests/harness/mutants/catalogue.h"
#include "tests/harness/random.h"

namespace liveexec::harness {
namespace {

struct Options {
  std::string json_file;
  std::vector<std::string> only;
  uint64_t seed = 0;
  int good_seeds = 0;
};

class MutantTable {
 public:
  explicit MutantTable(const Options& options) : options_(options) {
    std::error_code ignored;
    auto root = std::filesystem::canonical("/proc/self/exe", ignored);
    for (int i = 0; i < 4; ++i) root = root.parent_path();  // tests/harness/mutants/mutants
    programs_.root = root.string();
    std::printf("        %-26s %-20s %-20s %6s\n", "mutant", "expected", "verdict", "time");
  }

  void Try(const Mutant& mutant, uint64_t seed) {
    const int64_t start = NowNs();
    const auto result = TryMutant(programs_, mutant, seed);
    const double seconds = static_cast<double>(NowNs() - start) / 1e9;
    const std::string verdict =
        result.ok() ? std::string(VerdictName(result->verdict())) : "did not run";
    const bool right = result.ok() && result->verdict() == mutant.expected;
    ++tried_;
    right_ += right ? 1 : 0;
    std::printf("%s %-26s %-20s %-20s %4.1f s\n", right ? "right  " : "WRONG  ",
                mutant.name().c_str(), std::string(VerdictName(mutant.expected)).c_str(),
                verdict.c_str(), seconds);
    if (!right) Explain(result);
    std::fflush(stdout);
    rows_.push_back({{"mutant", mutant.name()},
                     {"expected", std::string(VerdictName(mutant.expected))},
                     {"verdict", verdict},
                     {"right", right},
                     {"seed", seed},
                     {"seconds", seconds},
                     {"repeat", result.ok() ? result->command : ""}});
  }

  bool Finish() {
    std::printf("%d of %d right\n", right_, tried_);
    if (!options_.json_file.empty()) {
      std::ofstream file(options_.json_file);
      file << nlohmann::json{{"right", right_}, {"tried", tried_}, {"mutants", rows_}}.dump(2)
           << '\n';
    }
    return right_ == tried_;
  }

 private:
  static void Explain(const absl::StatusOr<TortureResult>& result) {
    if (!result.ok()) {
      std::printf("        %s\n", std::string(result.status().message()).c_str());
      return;
    }
    size_t shown = 0;
    for (const Anomaly& anomaly : result->anomalies) {
      if (++shown <= 5) std::printf("        %s\n", anomaly.ToString().c_str());
    }
    std::printf("        repeat: %s\n", result->command.c_str());
  }

  const Options& options_;
  Programs programs_;
  int tried_ = 0;
  int right_ = 0;
  nlohmann::json rows_ = nlohmann::json::array();
};

bool Wanted(const Options& options, const Mutant& mutant) {
  return options.only.empty() ||
         std::find(options.only.begin(), options.only.end(), mutant.name()) != options.only.end();
}

int Run(const Options& options) {
  MutantTable table(options);
  for (int i = 0; i < options.good_seeds; ++i) {
    for (const Mutant& mutant : Mutants()) {
      if (mutant.fault == "none" && Wanted(options, mutant))
        table.Try(mutant, options.seed + static_cast<uint64_t>(i));
    }
  }
  if (options.good_seeds == 0) {
    for (const Mutant& mutant : Mutants()) {
      if (Wanted(options, mutant)) table.Try(mutant, options.seed);
    }
  }
  return table.Finish() ? 0 : 1;
}

}  // namespace
}  // namespace liveexec::harness

int main(int argc, char** argv) {
  liveexec::harness::Options options;
  CLI::App app("Tries the harness on servers with known faults.", "./dev mutants");
  app.add_option("--json", options.json_file, "write the table there as well");
  app.add_option("--only", options.only, "these alone, as echo/lose-byte");
  app.add_option("--seed", options.seed, "of every run; fresh if not given");
  app.add_option("--good-seeds", options.good_seeds,
                 "instead: the good servers, with so many seeds from --seed on");
  CLI11_PARSE(app, argc, argv);
  if (options.seed == 0) options.seed = liveexec::harness::FreshSeed();
  return liveexec::harness::Run(options);
}
