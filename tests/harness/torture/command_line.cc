#include "tests/harness/torture/command_line.h"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "core/error.h"
#include "tests/harness/random.h"

namespace liveexec::harness {

namespace {

constexpr char kAbout[] =
    "Upgrades a server again and again under checked load, and says what its clients saw.\n"
    "The server may be any program; it need not use liveexec.\n"
    "Exit code: 0 when nobody noticed, 1 when somebody did, 2 when it could not be run.";

const std::map<std::string, Dialogue> kDialogues = {{"echo", Dialogue::kEcho},
                                                    {"resp", Dialogue::kResp},
                                                    {"http", Dialogue::kHttp},
                                                    {"tcp-script", Dialogue::kScript},
                                                    {"udp", Dialogue::kUdp}};

std::string Quoted(const std::string& text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "'\\''"}}), "'");
}

std::string DialogueName(Dialogue dialogue) {
  for (const auto& [name, value] : kDialogues) {
    if (value == dialogue) return name;
  }
  return "";
}

std::string OwnPath() {
  std::error_code error;
  return std::filesystem::canonical("/proc/self/exe", error).string();
}

// The liveexec command is built beside this one.
std::string DefaultLiveexec() {
  std::error_code error;
  std::filesystem::path path = OwnPath();
  for (int i = 0; i < 6 && path.has_relative_path(); ++i) {
    path = path.parent_path();
    if (std::filesystem::exists(path / "handoff/cli/liveexec", error))
      return (path / "handoff/cli/liveexec").string();
  }
  return "liveexec";
}

struct Raw {
  std::string dialogue = "echo";
  std::vector<std::string> allowed;
};

void Define(CLI::App& app, TortureOptions& o, Raw& raw) {
  app.add_option("--server", o.server,
                 "Shell command that runs it in the foreground. {port}: a free port; {dir}: a "
                 "directory of its own; {binary}: the first of --binaries")
      ->required();
  app.add_option("--ready-line", o.ready_line,
                 "Pattern of the line that says it is ready; the first group is its port. Without "
                 "it, {port} is connected to");
  app.add_option("--unix", o.unix_path, "UNIX socket that clients connect to, not a port; {dir}");
  app.add_option("--name", o.name, "What the report calls it");
  app.add_option("--pid-file", o.pid_file,
                 "File that names the serving process, when upgrades change it; {dir}");
  app.add_option("--upgrade", o.upgrade,
                 "sighup, liveexec, or a shell command with {pid}, {dir}, {port}, {binary}")
      ->capture_default_str();
  app.add_option("--done-line", o.done_line, "Pattern of the line that says an upgrade is done");
  app.add_option("--settle", o.settle_ms, "Without --done-line: ms that an upgrade is given")
      ->capture_default_str();
  app.add_option("--control", o.control, "With liveexec: the control socket")
      ->capture_default_str();
  app.add_option("--liveexec", o.liveexec, "With liveexec: the command");
  app.add_option("--binaries", o.binaries,
                 "What to upgrade to: each follows each, in both directions, itself included")
      ->delimiter(',');
  app.add_option("--install-as", o.install_as,
                 "File that each of --binaries is put in place of first, for an upgrade that does "
                 "not name it; {dir}");
  app.add_option("--protocol", raw.dialogue, "echo, resp, http, tcp-script, or udp (an echo)")
      ->check(CLI::IsMember({"echo", "resp", "http", "tcp-script", "udp"}))
      ->capture_default_str();
  app.add_option("--script", o.script_file, "With tcp-script: the dialogue's file");
  app.add_option("--http-path", o.http_path, "With http: what to GET")->capture_default_str();
  app.add_flag("!--body-varies", o.same_body, "With http: responses need not be alike");
  app.add_option("--clients", o.clients, "Busy, checking clients")
      ->check(CLI::Range(1, 20000))
      ->capture_default_str();
  app.add_option("--idle", o.idle, "Idle connections")
      ->check(CLI::Range(0, 100000))
      ->capture_default_str();
  app.add_option("--upgrades", o.upgrades, "How many")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  app.add_option(
      "--faults", o.faults_text,
      "FAULT[@before|during|after|+MS|PHASE][:EVERY],...: bad-binary, cut-binary, twice, resets, "
      "flood, stop");
  app.add_option("--seed", o.seed, "Repeats a run; a fresh one if not given");
  app.add_option("--max-gap", o.max_gap_ms,
                 "ms that an upgrade may add to a client's wait for a reply")
      ->capture_default_str();
  app.add_option("--max-growth", o.max_growth_kib, "KiB that an upgrade may add to the memory")
      ->capture_default_str();
  app.add_option("--patience", o.patience_s, "Seconds after which something counts as hanging")
      ->capture_default_str();
  app.add_option("--allow", raw.allowed, "Verdicts that do not fail the run, as pid-changed")
      ->delimiter(',');
  app.add_option("--report", o.report_dir, "Directory for report.html, report.json, junit.xml");
  app.add_flag("--quiet", o.quiet, "Only the verdict");
}

absl::Status Complete(TortureOptions& o, const Raw& raw) {
  o.dialogue = kDialogues.at(raw.dialogue);
  if (o.seed == 0) o.seed = FreshSeed();
  if (o.liveexec == "liveexec") o.liveexec = DefaultLiveexec();
  LIVEEXEC_ASSIGN_OR_RETURN(o.faults, FaultPlan::Parse(o.faults_text));
  if (o.upgrade == "sighup" &&
      (o.faults.Has(FaultKind::kBadBinary) || o.faults.Has(FaultKind::kCutBinary))) {
    return absl::InvalidArgumentError(
        "a signal cannot say which binary: no bad-binary, cut-binary");
  }
  if (o.upgrade == "sighup" && o.binaries.size() > 1 && o.install_as.empty())
    return absl::InvalidArgumentError(
        "a signal cannot say which of --binaries: --install-as FILE says where the server finds "
        "it");
  for (const std::string& name : raw.allowed) {
    const auto verdict = VerdictFromName(name);
    if (!verdict) return absl::InvalidArgumentError(absl::StrCat("no such verdict: ", name));
    o.allowed.insert(*verdict);
  }
  if (o.dialogue != Dialogue::kScript) return absl::OkStatus();
  std::ifstream file(o.script_file);
  if (!file) return absl::InvalidArgumentError("tcp-script needs --script FILE");
  std::ostringstream text;
  text << file.rdbuf();
  LIVEEXEC_ASSIGN_OR_RETURN(o.script, Script::Parse(text.str()));
  return absl::OkStatus();
}

}  // namespace

ParsedTorture ParseTorture(int argc, char** argv) {
  ParsedTorture parsed;
  if (argc > 0) parsed.options.program = argv[0];
  Raw raw;
  CLI::App app(kAbout, "liveexec-torture");
  Define(app, parsed.options, raw);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    parsed.exit_code = app.exit(error) == 0 ? 0 : 2;
    return parsed;
  }
  if (const absl::Status status = Complete(parsed.options, raw); !status.ok()) {
    std::fprintf(stderr, "liveexec-torture: %s\n", std::string(status.message()).c_str());
    parsed.exit_code = 2;
  }
  return parsed;
}

std::string CommandLineOf(const TortureOptions& o) {
  const TortureOptions defaults;
  std::string line = absl::StrCat(o.program, " --server ", Quoted(o.server));
  const auto add = [&line](const char* option, const std::string& value, const std::string& given) {
    if (value != given) absl::StrAppend(&line, " ", option, " ", Quoted(value));
  };
  const auto number = [&line](const char* option, int64_t value) {
    absl::StrAppend(&line, " ", option, " ", value);
  };
  add("--name", o.name, "");
  add("--ready-line", o.ready_line, "");
  add("--pid-file", o.pid_file, "");
  add("--upgrade", o.upgrade, "");
  add("--done-line", o.done_line, "");
  add("--unix", o.unix_path, "");
  add("--install-as", o.install_as, "");
  add("--liveexec", o.liveexec, DefaultLiveexec());
  if (o.settle_ms != defaults.settle_ms) number("--settle", o.settle_ms);
  add("--control", o.control, defaults.control);
  if (!o.binaries.empty()) add("--binaries", absl::StrJoin(o.binaries, ","), "");
  absl::StrAppend(&line, " --protocol ", DialogueName(o.dialogue));
  add("--script", o.script_file, "");
  add("--http-path", o.http_path, defaults.http_path);
  if (!o.same_body) absl::StrAppend(&line, " --body-varies");
  number("--clients", o.clients);
  number("--idle", o.idle);
  number("--upgrades", o.upgrades);
  add("--faults", o.faults_text, "");
  if (o.max_gap_ms != defaults.max_gap_ms) number("--max-gap", o.max_gap_ms);
  if (o.max_growth_kib != defaults.max_growth_kib) number("--max-growth", o.max_growth_kib);
  if (o.patience_s != defaults.patience_s) number("--patience", o.patience_s);
  if (!o.allowed.empty()) {
    std::vector<std::string> names;
    for (const Verdict verdict : o.allowed) names.emplace_back(VerdictName(verdict));
    absl::StrAppend(&line, " --allow ", absl::StrJoin(names, ","));
  }
  absl::StrAppend(&line, " --seed ", o.seed);
  return line;
}

}  // namespace liveexec::harness
