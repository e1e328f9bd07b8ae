// liveexec-compat: do programs of different ages read each other's state? See docs/testing.md.
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/error.h"
#include "tests/compat/schema_changes.h"
#include "tests/compat/state_recording.h"

namespace liveexec::compat {
namespace {

constexpr char kAbout[] =
    "Sees that a program reads the state that earlier releases wrote, and that they read its own.\n"
    "Exit code: 0 when they do, 1 when they do not, 2 when it could not be found out.";

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

int CannotTell(const absl::Status& status) {
  std::fprintf(stderr, "liveexec-compat: %s\n", std::string(status.message()).c_str());
  return 2;
}

struct SchemaOptions {
  std::vector<std::string> released;
  std::string today;
  std::vector<std::string> accepted;
  bool strict = false;
};

bool Accepted(const SchemaOptions& options, const SchemaChange& change) {
  for (const std::string& accepted : options.accepted) {
    if (accepted == change.type || accepted == absl::StrCat(change.type, ", ", change.member))
      return true;
  }
  return false;
}

absl::StatusOr<int> CompareWith(const std::string& released, const SchemaOptions& options) {
  LIVEEXEC_ASSIGN_OR_RETURN(const std::string before, ReadFile(released));
  LIVEEXEC_ASSIGN_OR_RETURN(const std::string after, ReadFile(options.today));
  auto changes = CompareSchemas(before, after);
  if (!changes.ok()) return Annotate(changes.status(), released);
  int refused = 0;
  for (const SchemaChange& change : *changes) {
    const bool accepted = Accepted(options, change);
    const bool counts = change.gravity == SchemaChange::Gravity::kRefused || options.strict;
    refused += counts && !accepted ? 1 : 0;
    std::printf("%s: %s%s\n", released.c_str(), accepted ? "accepted: " : "",
                change.ToString().c_str());
  }
  std::printf("%s: %d refused\n", released.c_str(), refused);
  return refused;
}

int Schemas(const SchemaOptions& options) {
  int refused = 0;
  for (const std::string& released : options.released) {
    const auto found = CompareWith(released, options);
    if (!found.ok()) return CannotTell(found.status());
    refused += *found;
  }
  return refused == 0 ? 0 : 1;
}

struct RecordOptions {
  std::string control;
  std::string recorder;
  std::string directory;
};

// Beside this program.
std::string DefaultRecorder() {
  std::string path(4096, '\0');
  const ssize_t length = readlink("/proc/self/exe", path.data(), path.size());
  path.resize(length > 0 ? static_cast<size_t>(length) : 0);
  return absl::StrCat(path.substr(0, path.rfind('/')), "/recorder");
}

int Record(const RecordOptions& options) {
  const auto components = RecordState(options.control, options.recorder, options.directory);
  if (!components.ok()) return CannotTell(components.status());
  std::printf("%s: %s\n", options.directory.c_str(), absl::StrJoin(*components, ", ").c_str());
  return 0;
}

struct ReadOptions {
  std::vector<std::string> recordings;
  std::vector<std::string> binaries;
};

int Read(const ReadOptions& options) {
  int refused = 0;
  for (const std::string& binary : options.binaries) {
    for (const std::string& recording : options.recordings) {
      const absl::Status status = ReadRecordedState(recording, binary);
      if (absl::IsNotFound(status) || absl::IsDataLoss(status)) return CannotTell(status);
      refused += status.ok() ? 0 : 1;
      std::printf("%s %s: %s\n", status.ok() ? "reads  " : "REFUSES", binary.c_str(),
                  recording.c_str());
      if (!status.ok()) std::printf("        %s\n", std::string(status.message()).c_str());
    }
  }
  return refused == 0 ? 0 : 1;
}

int Run(int argc, char** argv) {
  CLI::App app(kAbout, "liveexec-compat");
  app.require_subcommand(1);
  SchemaOptions schemas;
  RecordOptions record{.recorder = DefaultRecorder()};
  ReadOptions read;
  CLI::App* schemas_command = app.add_subcommand(
      "schemas", "compares the Cap'n Proto schemas of releases with today's (capnp compile -o-)");
  schemas_command->add_option("--released", schemas.released, "of each release that counts")
      ->required();
  schemas_command->add_option("--today", schemas.today, "of this program")->required();
  schemas_command->add_option("--accept", schemas.accepted,
                              "TYPE, or 'TYPE, MEMBER', as printed, whose change is intended");
  schemas_command->add_flag("--strict", schemas.strict, "refuses cautions as well");
  CLI::App* record_command =
      app.add_subcommand("record", "keeps what a running server would hand to its next program");
  record_command->add_option("--control", record.control, "the server's control socket")
      ->required();
  record_command->add_option("--out", record.directory, "the recording")->required();
  record_command->add_option("--recorder", record.recorder, "the recorder's program");
  CLI::App* read_command =
      app.add_subcommand("read", "shows recordings to programs, which must rebuild everything");
  read_command->add_option("--recording", read.recordings, "a directory that record made")
      ->required();
  read_command->add_option("--binary", read.binaries, "a program")->required();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (schemas_command->parsed()) return Schemas(schemas);
  return record_command->parsed() ? Record(record) : Read(read);
}

}  // namespace
}  // namespace liveexec::compat

int main(int argc, char** argv) { return liveexec::compat::Run(argc, argv); }
