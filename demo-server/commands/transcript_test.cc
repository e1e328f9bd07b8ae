// Replays commands with the replies that a Redis 7.0 server gave to them.
//
// testdata/redis_7.0.txt has two lines for each command: the command as one would type it, and,
// indented, the bytes of the reply in quotes ("*" for whatever reply). The commands were drawn at
// random from all families, with many that are wrong in some way; those whose replies have no fixed
// order are left out.
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "demo-server/protocol/quote.h"
#include "demo-server/testing/engine_harness.h"

namespace liveexec::demo {
namespace {

TEST(Transcript, RepliesAsRedisDoes) {
  std::ifstream file("demo-server/commands/testdata/redis_7.0.txt");
  ASSERT_TRUE(file.is_open());
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
  EXPECT_GT(commands, 3000);
}

}  // namespace
}  // namespace liveexec::demo
