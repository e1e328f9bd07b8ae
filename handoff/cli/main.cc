// `liveexec`: asks a running server for an upgrade, and for what became of the earlier ones.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "handoff/cli/commands.h"
#include "handoff/cli/exit_code.h"
#include "handoff/cli/text.h"
#include "handoff/program_note.h"

namespace liveexec::cli {
namespace {

constexpr char kVersion[] = "0.1.0";

// All that a command line can say.
struct Arguments {
  UpgradeArguments upgrade;
  InspectArguments inspect;
  WatchArguments watch;
  std::string settle = "300ms";
  std::string control;
  std::string max_blackout;
  std::string timeout = "60s";
  uint32_t limit = 0;
  bool json = false;
};

// An empty string when `text` is a positive duration, else what is wrong: CLI11's convention.
std::string CheckDuration(const std::string& text) {
  absl::Duration duration;
  if (!absl::ParseDuration(text, &duration) || duration <= absl::ZeroDuration()) {
    return absl::StrCat(text, " is no duration, such as 50ms or 1.5s");
  }
  return "";
}

// What a script's unset variable leaves is not "no such option": that would mean another program,
// or any.
std::string CheckNotEmpty(const std::string& text) {
  return text.empty() ? "an empty name: is a variable unset?" : "";
}

std::string CheckSha256(const std::string& text) {
  const bool is_one = text.size() == 64 && absl::c_all_of(text, absl::ascii_isxdigit);
  return is_one ? "" : absl::StrCat("'", text, "' is no SHA-256, of 64 hexadecimal digits");
}

absl::Duration ToDuration(const std::string& text) {
  absl::Duration duration = absl::ZeroDuration();
  if (!text.empty()) absl::ParseDuration(text, &duration);
  return duration;
}

CLI::Option* AddControl(CLI::App* command, Arguments& arguments) {
  return command
      ->add_option("--control", arguments.control,
                   "the server's control socket; default: $LIVEEXEC_CONTROL")
      ->envname("LIVEEXEC_CONTROL");
}

// An option that names a program's file.
void AddFile(CLI::App* command, const char* name, std::string& file, const char* help) {
  command->add_option(name, file, help)->check(CLI::Validator(CheckNotEmpty, "FILE"));
}

void AddJson(CLI::App* command, Arguments& arguments) {
  command->add_flag("--json", arguments.json, "print JSON, also for errors");
}

// The options of both ways to ask for another program.
void AddUpgradeOptions(CLI::App* command, Arguments& arguments) {
  AddControl(command, arguments)->required();
  const CLI::Validator duration(CheckDuration, "DURATION");
  command
      ->add_option("--max-blackout", arguments.max_blackout,
                   "abandon the upgrade if the server would stand still for longer")
      ->check(duration);
  command->add_option("--timeout", arguments.timeout, "how long to wait for the answer")
      ->capture_default_str()
      ->check(duration);
  command->add_flag("--allow-downgrade", arguments.upgrade.allow_downgrade,
                    "also to a program of a lower security epoch");
  AddJson(command, arguments);
}

CLI::App* AddUpgrade(CLI::App& app, Arguments& arguments) {
  CLI::App* command = app.add_subcommand(
      "upgrade", "replace the running program, and wait until it is known what became of it");
  AddFile(command, "--binary", arguments.upgrade.binary,
          "the new program; default: the server's own choice");
  command
      ->add_option("--sha256", arguments.upgrade.sha256,
                   "refuse any file but the one with this hash")
      ->check(CLI::Validator(CheckSha256, "HASH"));
  AddUpgradeOptions(command, arguments);
  return command;
}

CLI::App* AddRollback(CLI::App& app, Arguments& arguments) {
  CLI::App* command =
      app.add_subcommand("rollback", "upgrade to the program that handed over to the running one");
  AddUpgradeOptions(command, arguments);
  return command;
}

CLI::App* AddWatch(CLI::App& app, Arguments& arguments) {
  CLI::App* command = app.add_subcommand(
      "watch", "upgrade whenever the program's file changes: edit, build, keep the state");
  AddFile(command, "--binary", arguments.upgrade.binary,
          "the file to watch; default: the server's own choice");
  command
      ->add_option("--settle", arguments.settle,
                   "how long the file must be left alone before it counts as complete")
      ->capture_default_str()
      ->check(CLI::Validator(CheckDuration, "DURATION"));
  command->add_option("--count", arguments.watch.count, "end after so many upgrades");
  AddUpgradeOptions(command, arguments);
  return command;
}

CLI::App* AddQuery(CLI::App& app, Arguments& arguments, const char* name, const char* help) {
  CLI::App* command = app.add_subcommand(name, help);
  AddControl(command, arguments)->required();
  AddJson(command, arguments);
  return command;
}

CLI::App* AddInspect(CLI::App& app, Arguments& arguments) {
  CLI::App* command = app.add_subcommand(
      "inspect", "what a program says of itself, and whether it would be accepted; not run");
  command->add_option("binary", arguments.inspect.binary, "the program")->required();
  AddFile(command, "--against", arguments.inspect.against,
          "compare with this program instead of a running one");
  AddControl(command, arguments);
  command->add_flag("--allow-downgrade", arguments.inspect.allow_downgrade,
                    "as for upgrade: a lower security epoch is no reason to refuse");
  AddJson(command, arguments);
  return command;
}

bool WantsJson(int argc, char** argv) {
  return std::any_of(argv, argv + argc, [](std::string_view word) { return word == "--json"; });
}

// The first word, if it is no option and no command: the parser would say that one is missing.
std::string UnknownCommand(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-' || argv[1][0] == '\0') return "";
  const auto commands = app.get_subcommands(nullptr);
  const bool known = absl::c_any_of(
      commands, [&](const CLI::App* command) { return command->get_name() == argv[1]; });
  return known ? "" : argv[1];
}

ExitCode ExplainUnknown(const std::string& word, int argc, char** argv) {
  const std::string message =
      absl::StrCat("there is no command ", Printable(word), ": liveexec --help lists them");
  if (WantsJson(argc, argv)) absl::PrintF("%s\n", UsageErrorJson(message));
  absl::FPrintF(stderr, "%s\n", message);
  return kExitUsage;
}

// Help and version are "errors" too. Whether JSON was wanted is not parsed when parsing failed.
ExitCode Explain(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv) {
  if (app.exit(error) == 0) return kExitOk;
  if (WantsJson(argc, argv)) absl::PrintF("%s\n", UsageErrorJson(error.what()));
  return kExitUsage;
}

int Run(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Replaces running servers by exec: same process, same connections, new program.",
               "liveexec");
  app.footer(kExitCodesHelp);
  app.require_subcommand(1);
  app.set_version_flag("--version",
                       absl::StrCat("liveexec ", kVersion, " (framework ABI ", kFrameworkAbi, ")"));
  CLI::App* upgrade = AddUpgrade(app, arguments);
  CLI::App* rollback = AddRollback(app, arguments);
  CLI::App* status =
      AddQuery(app, arguments, "status", "what the server runs, and whether it upgrades");
  CLI::App* history = AddQuery(app, arguments, "history", "what became of the server's upgrades");
  history->add_option("--limit", arguments.limit, "only the newest so many");
  CLI::App* watch = AddWatch(app, arguments);
  CLI::App* metrics = app.add_subcommand(
      "metrics", "the server's upgrades as metrics for Prometheus (text format)");
  AddControl(metrics, arguments)->required();
  CLI::App* cancel = AddQuery(app, arguments, "cancel", "give up the upgrade that is under way");
  CLI::App* doctor = AddQuery(app, arguments, "doctor",
                              "what in the running process would not survive an upgrade, and why");
  AddInspect(app, arguments);
  for (CLI::App* command : app.get_subcommands(nullptr)) command->footer(kExitCodesHelp);

  if (std::string unknown = UnknownCommand(app, argc, argv); !unknown.empty()) {
    return ExplainUnknown(unknown, argc, argv);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return Explain(app, error, argc, argv);
  }
  const Format format = arguments.json ? Format::kJson : Format::kText;
  if (status->parsed()) return RunStatus(arguments.control, format);
  if (history->parsed()) return RunHistory(arguments.control, arguments.limit, format);
  if (cancel->parsed()) return RunCancel(arguments.control, format);
  if (doctor->parsed()) return RunDoctor(arguments.control, format);
  if (metrics->parsed()) return RunMetrics(arguments.control);
  if (upgrade->parsed() || rollback->parsed() || watch->parsed()) {
    arguments.upgrade.to_previous = rollback->parsed();
    arguments.upgrade.control = arguments.control;
    arguments.upgrade.max_blackout = ToDuration(arguments.max_blackout);
    arguments.upgrade.timeout = ToDuration(arguments.timeout);
    arguments.upgrade.format = format;
    if (!watch->parsed()) return RunUpgrade(arguments.upgrade);
    arguments.watch.upgrade = arguments.upgrade;
    arguments.watch.settle = ToDuration(arguments.settle);
    return RunWatch(arguments.watch);
  }
  arguments.inspect.control = arguments.control;
  arguments.inspect.format = format;
  return RunInspect(arguments.inspect);
}

}  // namespace
}  // namespace liveexec::cli

int main(int argc, char** argv) {
  try {
    return liveexec::cli::Run(argc, argv);
  } catch (const std::exception& error) {
    absl::FPrintF(stderr, "liveexec: %s (E_INTERNAL)\n", error.what());
    return liveexec::cli::kExitRefused;
  }
}
