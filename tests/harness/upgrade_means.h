// UpgradeMeans: how a server is asked for an upgrade. For ServerUnderTest::UpgradeTo.
#ifndef LIVEEXEC_TESTS_HARNESS_UPGRADE_MEANS_H_
#define LIVEEXEC_TESTS_HARNESS_UPGRADE_MEANS_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace liveexec::harness {

class ServerUnderTest;

// How a server is asked for an upgrade, and what tells that it is done. Make one of them:
//
//   UpgradeMeans::Signal(SIGHUP, "^serving generation")
//   UpgradeMeans::Command({"systemctl", "reload", "my-server"})
//   UpgradeMeans::Liveexec("/usr/bin/liveexec", "{dir}/run/control")
//   UpgradeMeans::Call([](ServerUnderTest& server, const std::string& binary) {
//     return PostToAdminPort(server.port(), binary);      // an API of its own
//   })
struct UpgradeMeans {
  using Api = std::function<absl::Status(ServerUnderTest&, const std::string& binary)>;

  int signal = 0;
  // "{dir}", "{pid}", "{port}" and "{binary}" are replaced; must end with 0.
  std::vector<std::string> command;
  Api call;
  std::string done_line;  // the upgrade is done when the server writes such a line; empty: at once
  // Where the binary is put first (Install), for servers that are not told which one:
  // "{dir}/server".
  std::string install_as;

  static UpgradeMeans Signal(int signal, std::string done_line, std::string install_as = "");
  static UpgradeMeans Command(std::vector<std::string> command, std::string done_line = "");
  static UpgradeMeans Liveexec(const std::string& liveexec,
                               const std::string& control = "{dir}/run/control");
  static UpgradeMeans Call(Api call, std::string done_line = "");
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_UPGRADE_MEANS_H_
