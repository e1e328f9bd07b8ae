#include "tests/demo/benchmark_child.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/error.h"
#include "core/unique_fd.h"

namespace liveexec::demo {

namespace {

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

UniqueFd Create(const std::string& path) {
  return UniqueFd(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
}

}  // namespace

absl::StatusOr<std::unique_ptr<BenchmarkChild>> BenchmarkChild::Start(int port, int connections) {
  std::unique_ptr<BenchmarkChild> child(new BenchmarkChild());
  const UniqueFd output = Create(child->directory_.File("output"));
  const UniqueFd errors = Create(child->directory_.File("errors"));
  if (!output || !errors) return ErrnoError(errno, child->directory_.path());
  // More requests than it can make in a day: its connections stay as they are until it is killed.
  LIVEEXEC_ASSIGN_OR_RETURN(
      child->process_, harness::ChildProcess::Start(
                           {.command = {"redis-benchmark", "-h", "127.0.0.1", "-p",
                                        absl::StrCat(port), "-c", absl::StrCat(connections), "-n",
                                        "2000000000", "-t", "set", "-r", "1000", "-d", "64", "-q"},
                            .standard_output = output.get(),
                            .standard_error = errors.get()}));
  return child;
}

std::string BenchmarkChild::Complaints() const {
  std::string complaints;
  for (const absl::string_view line : absl::StrSplit(ReadFile(directory_.File("errors")), '\n')) {
    // It asks for the server's persistence settings, to print them; not having any is no error.
    if (line.empty() || absl::StrContains(line, "Could not fetch server CONFIG")) continue;
    absl::StrAppend(&complaints, line, "\n");
  }
  for (const absl::string_view line :
       absl::StrSplit(ReadFile(directory_.File("output")), absl::ByAnyChar("\r\n"))) {
    if (absl::StrContains(absl::AsciiStrToLower(line), "error"))
      absl::StrAppend(&complaints, line, "\n");
  }
  return complaints;
}

double BenchmarkChild::RequestsPerSecond() const {
  // Its progress line, rewritten in place: "SET: rps=64880.5 (overall: 64880.5) ..."
  const std::string output = ReadFile(directory_.File("output"));
  const size_t last = output.rfind("(overall: ");
  if (last == std::string::npos) return 0;
  const size_t rate = output.rfind("rps=", last);
  if (rate == std::string::npos) return 0;
  return std::strtod(output.c_str() + output.find("(overall: ", rate) + 10, nullptr);
}

}  // namespace liveexec::demo
