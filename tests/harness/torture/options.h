// What liveexec-torture is told: one run of one server.
#ifndef LIVEEXEC_TESTS_HARNESS_TORTURE_OPTIONS_H_
#define LIVEEXEC_TESTS_HARNESS_TORTURE_OPTIONS_H_

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "tests/harness/fault_plan.h"
#include "tests/harness/script_client.h"
#include "tests/harness/verdict.h"

namespace liveexec::harness {

enum class Dialogue : uint8_t { kEcho, kResp, kHttp, kScript, kUdp };

struct TortureOptions {
  std::string program = "liveexec-torture";  // that repeats the run
  std::string name;                          // in the report; the server's command when empty
  // A shell command. {port} becomes a free port, {dir} a directory of the server's own, {binary}
  // the first of `binaries`. It runs as "exec COMMAND", so that its process is the server's.
  std::string server;
  std::string ready_line;  // an ECMAScript pattern whose first group is the port
  std::string unix_path;   // clients connect to this UNIX socket, not to a TCP port; {dir}
  std::string pid_file;    // where the serving process's PID stands, when it is not the first one's

  // "sighup", "liveexec", or a shell command with {pid}, {dir}, {port}, {binary}.
  std::string upgrade = "sighup";
  std::string done_line;  // the upgrade is done when the server writes such a line
  std::string control = "{dir}/run/control";  // liveexec: the control socket
  std::string liveexec = "liveexec";          // the command
  std::string install_as;  // where each binary is put first, for upgrades that cannot name it
  int settle_ms = 300;     // sighup and commands without done_line: so long after it was asked
  std::vector<std::string> binaries;  // taken in turn, so that each follows each, itself included

  Dialogue dialogue = Dialogue::kEcho;
  std::string script_file;
  Script script;
  std::string http_path = "/";
  bool same_body = true;
  int clients = 16;  // busy ones
  int idle = 50;
  int upgrades = 5;
  std::string faults_text;
  FaultPlan faults;
  uint64_t seed = 0;  // 0: a fresh one

  int64_t max_gap_ms = 1000;      // a longer wait that is the upgrade's is "stalled"
  int64_t max_growth_kib = 4096;  // per upgrade
  int64_t patience_s = 15;        // for a reply, and for an upgrade
  std::set<Verdict> allowed;      // do not count

  std::string report_dir;
  bool quiet = false;
  bool keep_log = true;  // print and keep the server's output when the run fails
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_TORTURE_OPTIONS_H_
