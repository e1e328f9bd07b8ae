// `liveexec inspect`: what it says of a program file, and of two.
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "gmock/gmock.h"
#include "handoff/cli/cli_fixture.h"
#include "handoff/program_note.h"

// So that this test program can be inspected.
LIVEEXEC_APPLICATION("cli-test", "3.0");
LIVEEXEC_COMPONENT("keys", 2, 1);

namespace liveexec {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

// A copy of this test program that a test may spoil.
class InspectTest : public CliTest {
 protected:
  InspectTest() : path_(directory_.path() + "/program") {
    std::ifstream in("/proc/self/exe", std::ios::binary);
    std::ofstream(path_, std::ios::binary) << in.rdbuf();
    chmod(path_.c_str(), 0755);
  }
  ~InspectTest() override { unlink(path_.c_str()); }

  const std::string path_;
};

TEST_F(InspectTest, ShowsTheManifestAndTheVerdict) {
  Finished run = Command({"inspect", path_});
  EXPECT_EQ(run.exit_code, 0) << run.out << run.err;
  EXPECT_THAT(run.out,
              AllOf(HasSubstr("cli-test 3.0"), HasSubstr("keys: writes schema 2, reads 1 to 2"),
                    HasSubstr("would be accepted")));
  json result = json::parse(Command({"inspect", path_, "--json"}).out);
  EXPECT_EQ(result["accepted"], true);
  EXPECT_EQ(result["program"]["version"], "3.0");
}

TEST_F(InspectTest, ComparesWithTheRunningServer) {
  Serve();
  Finished same = Command({"inspect", path_, "--control", control()});
  EXPECT_EQ(same.exit_code, 0) << same.out << same.err;
  EXPECT_THAT(same.out, HasSubstr("would be accepted by cli-test 3.0"));
  thread_.reset();
  server_.reset();
  handlers_.status = [] {
    ControlStatus status;
    status.program = *OwnProgramNote();
    status.program.components = {{"keys", 3, 3}, {"clients", 1, 1}};
    return status;
  };
  Serve();
  Finished older = Command({"inspect", path_, "--control", control()});
  EXPECT_EQ(older.exit_code, 2);
  EXPECT_THAT(older.out, AllOf(HasSubstr("would be refused by cli-test 3.0"),
                               HasSubstr("E_SCHEMA: component keys writes schema 3"),
                               HasSubstr("E_SCHEMA: the candidate has no component clients")));
  json result = json::parse(Command({"inspect", path_, "--control", control(), "--json"}).out);
  EXPECT_EQ(result["accepted"], false);
  EXPECT_EQ(result["refusals"].size(), 2u);
}

TEST_F(InspectTest, ComparesWithAnotherBinary) {
  Finished run = Command({"inspect", path_, "--against", "/proc/self/exe"});
  // /proc/self/exe is the command itself, which is no liveexec server.
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.err, HasSubstr("(E_APP)"));
  EXPECT_THAT(Command({"inspect", path_, "--against", path_}).out,
              HasSubstr("would be accepted by cli-test 3.0"));
}

TEST_F(InspectTest, SaysAllThatIsWrongWithTheFile) {
  ASSERT_EQ(chmod(path_.c_str(), 0777), 0);
  Finished unsafe = Command({"inspect", path_});
  EXPECT_EQ(unsafe.exit_code, 2);
  EXPECT_THAT(unsafe.out, AllOf(HasSubstr("cli-test 3.0"), HasSubstr("E_UNSAFE")));
  EXPECT_THAT(Command({"inspect", "/bin/sh"}).out, HasSubstr("E_APP"));
  EXPECT_THAT(Command({"inspect", "/no/such/file"}).out, HasSubstr("E_NOENT"));
  EXPECT_THAT(Command({"inspect", "/etc/passwd"}).out,
              AllOf(HasSubstr("E_ACCES"), HasSubstr("E_ELF")));
}

}  // namespace
}  // namespace liveexec
