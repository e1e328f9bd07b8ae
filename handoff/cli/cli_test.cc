// `liveexec` as its users see it: the real command, against a control socket that this test serves.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "handoff/cli/cli_fixture.h"
#include "handoff/control_test_util.h"
#include "handoff/error_code.h"
#include "handoff/program_note.h"

// So that this test program can be inspected.
LIVEEXEC_APPLICATION("cli-test", "3.0");
LIVEEXEC_COMPONENT("keys", 2, 1);

namespace liveexec {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST_F(CliTest, UpgradesAndPrintsPlainLinesIntoAPipe) {
  Serve();
  Finished run = Command({"upgrade", "--control", control(), "--binary", "relative/server",
                          "--max-blackout", "50ms", "--allow-downgrade"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(run.out,
            "+ checking: 1.00 ms, 2 fds\n+ sealing: 2.00 ms\n"
            "committed: 1.0 -> 2.0, pid 4321, blackout 3.21 ms, 1064 fds, 12.3 KiB of state\n");
  EXPECT_EQ(run.err, "");
  EXPECT_EQ(asked().binary.front(), '/');
  EXPECT_THAT(asked().binary, testing::EndsWith("/relative/server"));
  EXPECT_EQ(asked().max_blackout, absl::Milliseconds(50));
  EXPECT_TRUE(asked().allow_downgrade);
}

TEST_F(CliTest, LeavesTheChoiceOfTheBinaryToTheServer) {
  Serve();
  EXPECT_EQ(Command({"upgrade"}, {"LIVEEXEC_CONTROL=" + control()}).exit_code, 0);
  EXPECT_EQ(asked().binary, "");
  EXPECT_EQ(asked().max_blackout, absl::ZeroDuration());
}

TEST_F(CliTest, ExitsByTheUpgradesOutcome) {
  Serve();
  for (auto [outcome, code, name] : {std::tuple{Outcome::kAbandoned, 10, "abandoned"},
                                     std::tuple{Outcome::kRolledBack, 11, "rolled back"},
                                     std::tuple{Outcome::kResurrected, 12, "resurrected"}}) {
    outcome_ = outcome;
    Finished run = Command({"upgrade", "--control", control()});
    EXPECT_EQ(run.exit_code, code);
    EXPECT_THAT(run.out, HasSubstr("x sealing: 2.00 ms, E_SEAL\n"));
    EXPECT_THAT(run.out,
                HasSubstr(absl::StrCat(name, " while sealing: no memory (E_SEAL); 1.0 serves")));
  }
}

TEST_F(CliTest, RedrawsTheCurrentPhaseOnATerminal) {
  Serve();
  Finished run = Command({"upgrade", "--control", control()}, {"TERM=xterm"}, Stdout::kTerminal);
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(run.out, AllOf(HasSubstr("\r  \x1b[33m>\x1b[0m checking"),
                             HasSubstr("\r  \x1b[32m+\x1b[0m checking"), HasSubstr("\x1b[K")));
  EXPECT_THAT(run.out, HasSubstr("committed: 1.0 -> 2.0"));
}

TEST_F(CliTest, EndsAPhaseWhenTheNextOneStartsAndShowsItOnce) {
  handlers_.upgrade = [this](ControlServer::ConnectionId id, const ControlUpgrade&) {
    // As a server does that stops between the two, and whose successor tells all at the end.
    server_->SendProgress(id, {"checking", ControlProgress::State::kStarted});
    server_->SendProgress(id, {"sealing", ControlProgress::State::kStarted});
    server_->SendProgress(id, {"checking", ControlProgress::State::kFinished, 1'000'000});
    server_->SendProgress(id, {"sealing", ControlProgress::State::kFinished, 2'000'000});
    server_->SendResult(id, Entry(Outcome::kCommitted));
    return absl::OkStatus();
  };
  Serve();
  const std::vector<std::string> command = {"upgrade", "--control", control()};
  auto count = [](const std::string& text, const std::string& word) {
    int number = 0;
    for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
      ++number;
    }
    return number;
  };
  Finished run = Command(command, {"TERM=xterm", "NO_COLOR=1"}, Stdout::kTerminal);
  EXPECT_EQ(count(run.out, "+ checking"), 1) << run.out;
  EXPECT_EQ(count(run.out, "+ sealing"), 1) << run.out;
  run = Command(command);
  EXPECT_EQ(count(run.out, "+ checking: 1.00 ms\n"), 1) << run.out;
  EXPECT_EQ(count(run.out, "+ sealing: 2.00 ms\n"), 1) << run.out;
}

TEST_F(CliTest, ShowsWhatFailedBeforeWhatCameAfter) {
  handlers_.upgrade = [this](ControlServer::ConnectionId id, const ControlUpgrade&) {
    JournalEntry entry = Entry(Outcome::kAbandoned);
    entry.phases.push_back({"resuming", 9, 1'000'000});
    server_->SendResult(id, entry);
    return absl::OkStatus();
  };
  Serve();
  EXPECT_THAT(Command({"upgrade", "--control", control()}).out,
              HasSubstr("x sealing: 2.00 ms, E_SEAL\n+ resuming: 1.00 ms\n"));
}

TEST_F(CliTest, HonoursNoColorAndDumbTerminals) {
  Serve();
  Finished run =
      Command({"upgrade", "--control", control()}, {"TERM=xterm", "NO_COLOR=1"}, Stdout::kTerminal);
  EXPECT_THAT(run.out, AllOf(HasSubstr("\r  + checking"), Not(HasSubstr("\x1b[3"))));
  run = Command({"upgrade", "--control", control()}, {"TERM=dumb"}, Stdout::kTerminal);
  EXPECT_THAT(run.out, AllOf(HasSubstr("+ checking: 1.00 ms"), Not(HasSubstr("\x1b"))));
}

TEST_F(CliTest, PrintsJson) {
  Serve();
  Finished run = Command({"upgrade", "--control", control(), "--json"});
  json entry = json::parse(run.out);
  EXPECT_EQ(entry["outcome"], "committed");
  EXPECT_EQ(entry["blackout_ms"], 3.21);
  EXPECT_EQ(entry["phases"][0]["phase"], "checking");
  json status = json::parse(Command({"status", "--control", control(), "--json"}).out);
  EXPECT_EQ(status["pid"], 77);
  EXPECT_EQ(status["program"]["application"], "cli-test");
  EXPECT_EQ(status["last_result"]["upgrade"], 4);
  EXPECT_EQ(status["upgrading"], false);
  json history = json::parse(Command({"history", "--control", control(), "--json"}).out);
  EXPECT_EQ(history["history"].size(), 2u);
  EXPECT_EQ(history["history"][1]["code"], "E_SEAL");
}

TEST_F(CliTest, PrintsStatusAndHistoryForPeople) {
  Serve();
  Finished status = Command({"status", "--control", control()});
  EXPECT_EQ(status.exit_code, 0);
  EXPECT_THAT(status.out, AllOf(HasSubstr("cli-test 3.0"), HasSubstr("serving"), HasSubstr("77"),
                                HasSubstr("keys (schema 2)"), HasSubstr("/srv/bin/server")));
  Finished history = Command({"history", "--control", control()});
  EXPECT_THAT(history.out, AllOf(HasSubstr("committed  1.0   2.0"), HasSubstr("abandoned"),
                                 HasSubstr("E_SEAL: no memory")));
  EXPECT_THAT(Command({"history", "--control", control(), "--limit", "1"}).out,
              Not(HasSubstr("committed")));
}

TEST_F(CliTest, PrintsMetricsForPrometheus) {
  Serve();
  Finished run = Command({"metrics", "--control", control()});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.out,
              AllOf(HasSubstr("# TYPE liveexec_upgrades_committed_total counter\n"
                              "liveexec_upgrades_committed_total 3\n"),
                    HasSubstr("liveexec_upgrade_attempts_total 4\n"),
                    HasSubstr("liveexec_last_upgrade_blackout_seconds 0.003210000\n"),
                    HasSubstr("{outcome=\"committed\",code=\"\"} 1\n"),
                    HasSubstr("{outcome=\"abandoned\",code=\"\"} 0\n"),
                    HasSubstr("liveexec_last_upgrade_phase_seconds{phase=\"sealing\"} 0.002")));
}

// What a build does to a binary, one thing each time that the server is asked what it runs; which
// `watch` does when it has begun to watch, and no later.
TEST_F(CliTest, WatchesAFileAndUpgradesWheneverItChanges) {
  const std::string path = directory_.path() + "/server", next = path + ".next";
  std::ofstream(path) << "first";
  const auto status = handlers_.status;
  handlers_.status = [&] {
    std::ofstream(next) << "second";
    EXPECT_EQ(rename(next.c_str(), path.c_str()), 0);
    return status();
  };
  Serve();
  Finished run = Command(
      {"watch", "--control", control(), "--binary", path, "--settle", "1ms", "--count", "1"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(asked().binary, path);
  EXPECT_THAT(run.out, AllOf(HasSubstr("watching " + path + " for cli-test 3.0, pid 77\n"),
                             HasSubstr("committed: 1.0 -> 2.0")));
  unlink(path.c_str());
}

TEST_F(CliTest, WatchesWhatALinkLeadsTo) {
  const std::string folder = directory_.path() + "/build", link = directory_.path() + "/server";
  ASSERT_EQ(mkdir(folder.c_str(), 0700), 0);
  std::ofstream(folder + "/server") << "first";
  ASSERT_EQ(symlink("build/server", link.c_str()), 0);
  const auto status = handlers_.status;
  handlers_.status = [&] {
    std::ofstream(folder + "/server") << "second";
    return status();
  };
  outcome_ = Outcome::kAbandoned;
  Serve();
  Finished run = Command(
      {"watch", "--control", control(), "--binary", link, "--settle", "1ms", "--count", "1"});
  EXPECT_EQ(run.exit_code, 10) << run.err;
  EXPECT_EQ(asked().binary, link);
  unlink(link.c_str());
  unlink((folder + "/server").c_str());
  rmdir(folder.c_str());
}

TEST_F(CliTest, CannotWatchWhereThereIsNoFolder) {
  Serve();
  Finished run = Command({"watch", "--control", control(), "--binary", "/no/such/server"});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.err, HasSubstr("(E_WATCH)"));
}

TEST_F(CliTest, SaysInOneSentenceWhyItCouldNotAsk) {
  Finished run = Command({"upgrade", "--control", control()});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_EQ(run.out, "");
  EXPECT_THAT(run.err, AllOf(HasSubstr("no server listens"), HasSubstr("(E_CONNECT)")));
  run = Command({"status", "--control", control(), "--json"});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_EQ(json::parse(run.out)["error"]["code"], "E_CONNECT");
}

TEST_F(CliTest, PassesOnTheServersRefusal) {
  handlers_.upgrade = [](ControlServer::ConnectionId, const ControlUpgrade&) {
    return CodedError("E_BUSY", absl::StatusCode::kFailedPrecondition, "one at a time: wait");
  };
  Serve();
  Finished run = Command({"upgrade", "--control", control()});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_EQ(run.err, "liveexec: one at a time: wait (E_BUSY)\n");
}

TEST_F(CliTest, GivesUpAfterItsTimeout) {
  handlers_.upgrade = [this](ControlServer::ConnectionId id, const ControlUpgrade&) {
    server_->SendProgress(id, {"rehearsing", ControlProgress::State::kStarted});
    return absl::OkStatus();
  };
  Serve();
  Finished run = Command({"upgrade", "--control", control(), "--timeout", "50ms"});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.out, HasSubstr("x rehearsing"));
  EXPECT_THAT(run.err, HasSubstr("(E_TIMEOUT)"));
}

TEST_F(CliTest, ExplainsWrongUsage) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{},
                                             {"dance"},
                                             {"upgrade"},
                                             {"status"},
                                             {"upgrade", "--control", "x", "--max-blackout", "50"},
                                             {"upgrade", "--control", "x", "--timeout", "-1s"},
                                             {"upgrade", "--control", "x", "--binary", ""},
                                             {"upgrade", "--control", "x", "--sha256", ""},
                                             {"upgrade", "--control", "x", "--sha256", "beef"},
                                             {"watch", "--control", "x", "--binary", ""},
                                             {"inspect", "x", "--against", ""},
                                             {"history", "--control", "x", "--limit", "-1"},
                                             {"inspect"}}) {
    Finished run = Command(arguments);
    EXPECT_EQ(run.exit_code, 1) << testing::PrintToString(arguments);
    EXPECT_NE(run.err, "");
  }
  EXPECT_EQ(json::parse(Command({"upgrade", "--json"}).out)["error"]["code"], "E_USAGE");
  Finished unknown = Command({"dance", "--json"});
  EXPECT_THAT(unknown.err, HasSubstr("there is no command dance"));
  EXPECT_EQ(json::parse(unknown.out)["error"]["code"], "E_USAGE");
}

TEST_F(CliTest, ExplainsItself) {
  Finished help = Command({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.out, AllOf(HasSubstr("upgrade"), HasSubstr("Exit codes"), HasSubstr("12")));
  Finished version = Command({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_THAT(version.out, testing::StartsWith("liveexec 0."));
}

}  // namespace
}  // namespace liveexec
