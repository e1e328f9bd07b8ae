// The fixture of the end-to-end tests: demo-server in its versions, upgraded by its users' means.
//
//   DemoServer& server = Start();
//   auto client = server.Client();
//   client->SendRaw("*2\r\n$3\r\nGE");
//   server.Upgrade();                  // throws, and fails the test, unless it commits
//   client->SendRaw("T\r\n$1\r\nk\r\n");
#ifndef LIVEEXEC_TESTS_E2E_DEMO_SERVER_TEST_H_
#define LIVEEXEC_TESTS_E2E_DEMO_SERVER_TEST_H_

#include <memory>
#include <string>
#include <vector>

#include "tests/harness/endpoint.h"
#include "tests/harness/resp_client.h"
#include "tests/harness/server_under_test.h"
#include "tests/harness/testing.h"

namespace liveexec::e2e {

using harness::IsOk;
using harness::Must;
using harness::SawNoUpgrade;

// The programs under test, as absolute paths.
enum class Version : uint8_t { kV0, kV1, kV2 };
std::string BinaryOf(Version version);
std::string LiveexecBinary();

struct StartOptions {
  int threads = 1;
  Version version = Version::kV1;
  std::vector<std::string> arguments;  // further ones; "{dir}" is replaced
  bool without_stdin = false;          // its parent has closed it
};

// Runs one demo-server. Not owned: it belongs to the fixture.
class DemoServer {
 public:
  explicit DemoServer(harness::ServerUnderTest& server);

  harness::ServerUnderTest& process() { return server_; }
  harness::Endpoint endpoint() const { return harness::Endpoint::Tcp(server_.port()); }
  std::string control() const { return server_.File("run/control"); }
  std::unique_ptr<harness::RespClient> Client(const harness::DialOptions& options = {}) {
    return Must(harness::RespClient::Open(endpoint(), options));
  }

  // To the configured binary, by SIGHUP. Returns the new program's version.
  std::string UpgradeBySignal();
  // By the command, to `version`.
  std::string UpgradeTo(Version version);
  // By turns, `times` times, between the versions.
  void Upgrade(int times = 1);
  // Waits until the server says that it has reached this generation.
  std::string AwaitGeneration(int generation);

  // Runs `liveexec COMMAND --control PATH arguments...`.
  harness::CommandResult Liveexec(const std::string& command,
                                  const std::vector<std::string>& arguments = {});
  std::vector<std::string> LiveexecCommand(const std::string& command,
                                           const std::vector<std::string>& arguments = {}) const;

  int generation() const { return generation_; }

 private:
  harness::ServerUnderTest& server_;
  int generation_ = 0;
};

class DemoServerTest : public harness::ServerTest {
 protected:
  DemoServer& Start(const StartOptions& options = {});
  void TearDown() override;

 private:
  std::vector<std::unique_ptr<DemoServer>> demo_servers_;
};

}  // namespace liveexec::e2e

#endif  // LIVEEXEC_TESTS_E2E_DEMO_SERVER_TEST_H_
