// Replays commands with the replies that a Redis 7.0 server gave to them.
//
// The files in testdata have two lines for each command: the command as one would type it, and,
// indented, the bytes of the reply in quotes ("*" for whatever reply). Those of
// redis_7.0_settings.txt are about parameters and other questions that client libraries and their
// tests ask a server; those of redis_7.0.txt were drawn at random from all families, with many that
// are wrong in some way; those whose replies have no fixed order are left out.
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "demo-server/protocol/quote.h"
#include "demo-server/testing/engine_harness.h"

namespace liveexec::demo {
namespace {

// Returns the number of commands.
int Replay(const std::string& name) {
  std::ifstream file("demo-server/commands/testdata/" + name);
  EXPECT_TRUE(file.is_open()) << name;
  EngineHarness server;
  TestClient client(server);
  std::string command;
  std::string expected;
  int commands = 0;
  int differences = 0;
  while (std::getline(file, command) && std::getline(file, expected)) {
    ++commands;
    const std::string reply = "  " + Quote(client.Call(command));
    if (expected == "  *" || reply == expected) continue;
    ADD_FAILURE() << "command " << commands << ": " << command << "\nRedis:" << expected
                  << "\nwe:   " << reply;
    // What follows depends on it, so a few are enough to see what is wrong.
    if (++differences == 5) break;
  }
  return commands;
}

TEST(Transcript, RepliesAsRedisDoes) { EXPECT_GT(Replay("redis_7.0.txt"), 3000); }

TEST(Transcript, KeepsParametersAndAnswersQuestionsAsRedisDoes) {
  EXPECT_GT(Replay("redis_7.0_settings.txt"), 150);
}

}  // namespace
}  // namespace liveexec::demo
