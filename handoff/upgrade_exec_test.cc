// Upgrades of a real process by real execs: what survives, what is put back, what is refused.
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "core/testing/open_files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "handoff/journal.h"
#include "handoff/testing/victim_process.h"

namespace liveexec {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string ReadProc(pid_t pid, const std::string& name) {
  std::ostringstream out;
  out << std::ifstream("/proc/" + std::to_string(pid) + "/" + name, std::ios::binary).rdbuf();
  return out.str();
}

// What must not drift.
struct Traits {
  std::map<std::string, std::string> status;
  std::string limits, arguments;
  std::vector<std::string> files;  // but sockets
  int sockets = 0;

  // The control connections of the test's own questions come and go: two of them may be open still,
  // or again.
  bool operator==(const Traits& other) const {
    return status == other.status && limits == other.limits && arguments == other.arguments &&
           files == other.files && std::abs(sockets - other.sockets) <= 2;
  }
};

Traits TraitsOf(pid_t pid) {
  Traits traits;
  std::istringstream status(ReadProc(pid, "status"));
  for (std::string line; std::getline(status, line);) {
    std::string name = line.substr(0, line.find(':'));
    for (const char* wanted : {"Name", "PPid", "Pid", "SigBlk", "SigIgn", "SigCgt", "SigPnd",
                               "ShdPnd", "Threads", "NoNewPrivs", "Cpus_allowed", "Umask"}) {
      if (name == wanted) traits.status[name] = line;
    }
  }
  traits.limits = ReadProc(pid, "limits");
  traits.arguments = ReadProc(pid, "cmdline");
  for (const auto& [fd, target] : OpenFiles(pid)) {
    if (target.rfind("socket:", 0) == 0) {
      ++traits.sockets;
    } else {
      traits.files.push_back(target);
    }
  }
  std::sort(traits.files.begin(), traits.files.end());
  return traits;
}

std::string Describe(const Traits& traits) {
  std::string text;
  for (const auto& [name, line] : traits.status) text += line + "\n";
  for (const std::string& file : traits.files) text += file + "\n";
  return text + std::to_string(traits.sockets) + " sockets\n";
}

TEST(Upgrade, KeepsTheConnectionTheStateAndTheProcess) {
  VictimProcess victim;
  VictimClient client = victim.Connect();
  ASSERT_EQ(client.Ask("next"), "1");
  std::string candidate = victim.Candidate("good");
  JournalEntry entry = victim.Upgrade(candidate);
  EXPECT_EQ(OutcomeName(entry.outcome), "committed") << entry.code << " " << entry.message;
  EXPECT_EQ(entry.code, "");
  EXPECT_EQ(entry.message, "");
  EXPECT_EQ(entry.trigger, "control");
  EXPECT_EQ(entry.binary, candidate);
  EXPECT_EQ(entry.upgrade, 1u);
  EXPECT_EQ(entry.pid, static_cast<uint32_t>(victim.pid()));
  EXPECT_GE(entry.fds, 3u);  // listener, client, the control socket
  EXPECT_GT(entry.state_bytes, 0u);
  EXPECT_EQ(client.Ask("next"), "2");
  EXPECT_EQ(client.Ask("generation"), "1");
  EXPECT_EQ(victim.Connect().Ask("next"), "3");
}

TEST(Upgrade, WritesDownEachPhaseOnceInOrderAndWithoutGaps) {
  VictimProcess victim;
  JournalEntry entry = victim.Upgrade(victim.Candidate("good"));
  std::vector<std::string> names;
  for (const PhaseTime& phase : entry.phases) names.push_back(phase.phase);
  EXPECT_THAT(names, ElementsAre("checking", "rehearsing", "guarding", "quiescing", "exporting",
                                 "sealing", "sending", "executing", "receiving", "verifying",
                                 "rehydrating", "self-checking", "committed"));
  for (size_t i = 0; i < entry.phases.size(); ++i) {
    EXPECT_GE(entry.phases[i].duration_ns, 0) << names[i];
    if (i == 0) continue;
    const PhaseTime& before = entry.phases[i - 1];
    EXPECT_EQ(entry.phases[i].start_ns, before.start_ns + before.duration_ns) << names[i];
  }
}

TEST(Upgrade, AHundredInARowChangeNothingOfTheProcess) {
  VictimProcess victim({"VICTIM_KEPT=1", "DROPPED=1"});
  VictimClient client = victim.Connect();
  Traits started = TraitsOf(victim.pid());
  std::string candidate = victim.Candidate("good");
  std::string environment;
  Traits after_two;
  for (int round = 1; round <= 100; ++round) {
    JournalEntry entry = victim.Upgrade(candidate);
    ASSERT_EQ(OutcomeName(entry.outcome), "committed") << entry.code << " " << entry.message;
    ASSERT_EQ(client.Ask("next"), std::to_string(round));
    // The second one is the first that comes from a program that was itself handed something.
    if (round != 2) continue;
    after_two = TraitsOf(victim.pid());
    environment = client.Ask("environment");
  }
  EXPECT_EQ(client.Ask("generation"), "100");
  Traits at_the_end = TraitsOf(victim.pid());
  EXPECT_TRUE(at_the_end == after_two) << Describe(after_two) << "became\n" << Describe(at_the_end);
  EXPECT_EQ(at_the_end.limits, started.limits);
  EXPECT_EQ(at_the_end.arguments, started.arguments);
  EXPECT_EQ(at_the_end.status, started.status);
  EXPECT_EQ(client.Ask("environment"), environment);
  EXPECT_THAT(environment, HasSubstr("VICTIM_KEPT"));
  EXPECT_THAT(environment, Not(HasSubstr("DROPPED")));
  EXPECT_THAT(environment, Not(HasSubstr("LIVEEXEC_CHANNEL")));
  EXPECT_EQ(victim.History().size(), Journal::kMaxEntries);
}

TEST(Upgrade, ASignalAsksForOneOfTheDefaultBinary) {
  VictimProcess victim;
  VictimClient client = victim.Connect();
  ASSERT_EQ(kill(victim.pid(), SIGHUP), 0);
  // The answers say when it has happened; each is an event of the server.
  std::string generation;
  for (int i = 0; i < 1'000'000 && generation != "1"; ++i) generation = client.Ask("generation");
  ASSERT_EQ(generation, "1");
  std::vector<JournalEntry> history = victim.History();
  ASSERT_EQ(history.size(), 1u);
  EXPECT_EQ(history[0].trigger, "signal");
  EXPECT_EQ(history[0].binary, victim.program());
}

TEST(Upgrade, AComponentWhoseStateTheCandidateDropsIsLeftBehindAndNamed) {
  VictimProcess victim;
  VictimClient client = victim.Connect();
  ASSERT_EQ(client.Ask("next"), "1");
  JournalEntry entry = victim.Upgrade(victim.Candidate("drops"));
  EXPECT_EQ(OutcomeName(entry.outcome), "committed") << entry.code << " " << entry.message;
  EXPECT_THAT(entry.fds_left_behind, Contains("not taken: server/listener/0 (unix listener)"));
  EXPECT_THAT(entry.fds_left_behind, Contains(HasSubstr("not taken: server/client/")));
  EXPECT_EQ(client.Ask("next"), "closed");
}

TEST(Upgrade, ACandidateThatDoesNotKnowAComponentIsRefusedBeforeAnythingStops) {
  VictimProcess victim;
  VictimClient client = victim.Connect();
  JournalEntry entry = victim.Upgrade(victim.Candidate("forgets"));
  EXPECT_EQ(OutcomeName(entry.outcome), "abandoned");
  EXPECT_EQ(entry.code, "E_SCHEMA");
  EXPECT_THAT(entry.message, HasSubstr("server"));
  EXPECT_EQ(entry.failed_phase, "checking");
  EXPECT_EQ(entry.blackout_ns, 0);
  EXPECT_EQ(client.Ask("next"), "1");
  EXPECT_EQ(client.Ask("generation"), "0");
}

TEST(Upgrade, AbandonedOnesLeaveNothingBehind) {
  VictimProcess victim;
  VictimClient client = victim.Connect();
  Traits before = TraitsOf(victim.pid());
  std::string not_a_program = victim.program() + ".sh";
  std::ofstream(not_a_program) << "#!/bin/sh\n";
  struct Row {
    std::string binary;
    const char* code;
  };
  const Row table[] = {
      {"/no/such/file", "E_NOENT"}, {"/", "E_ACCES"},
      {not_a_program, "E_ACCES"},  // Not executable.
      {"/bin/true", "E_APP"},       {victim.Candidate("forgets"), "E_SCHEMA"},
  };
  for (int round = 0; round < 3; ++round) {
    for (const Row& row : table) {
      JournalEntry entry = victim.Upgrade(row.binary);
      EXPECT_EQ(OutcomeName(entry.outcome), "abandoned") << row.binary;
      EXPECT_EQ(entry.code, row.code) << row.binary << ": " << entry.message;
      EXPECT_EQ(entry.failed_phase, "checking");
    }
  }
  Traits after = TraitsOf(victim.pid());
  EXPECT_TRUE(after == before) << Describe(before) << "became\n" << Describe(after);
  EXPECT_EQ(client.Ask("next"), "1");
  unlink(not_a_program.c_str());
}

}  // namespace
}  // namespace liveexec
