// Cells 1 to 8: asking.
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "handoff/control_frame.h"
#include "handoff/error_code.h"
#include "tests/faults/cells.h"
#include "tests/faults/fault_run.h"
#include "tests/harness/endpoint.h"

namespace liveexec::faults {
namespace {

constexpr int kOneSecondMs = 1000;

Seen ToSeen(const absl::Status& status) {
  return {status.ok() ? "?" : "A", CodeOf(status), std::string(status.message())};
}

Seen ToSeen(const ControlResponse& response) {
  if (const auto* error = std::get_if<ControlError>(&response.body)) {
    return {"A", error->code, error->message};
  }
  return {"?", "", "an answer that is no error"};
}

// Reads until there is a whole answer, writing a byte of `request` each second meanwhile.
Seen DribbleAndRead(int fd, std::string_view request) {
  FrameBuffer frames(kMaxResponseFrame);
  for (int seconds = 0; seconds < 60; ++seconds) {
    if (static_cast<size_t>(seconds) < request.size()) {
      if (write(fd, &request[static_cast<size_t>(seconds)], 1) < 0) break;
    }
    struct pollfd wait = {fd, POLLIN, 0};
    if (poll(&wait, 1, kOneSecondMs) == 0) continue;
    char buffer[4096];
    const ssize_t size = read(fd, buffer, sizeof(buffer));
    if (size <= 0) break;
    frames.Append(std::string_view(buffer, static_cast<size_t>(size)));
    auto frame = frames.Next();
    if (!frame.ok() || !frame->has_value()) continue;
    auto response = DecodeResponse(**frame);
    if (response.ok()) return ToSeen(*response);
  }
  return {"?", "", "the connection ended without an answer"};
}

UniqueFd ConnectRaw(FaultRun& run) {
  auto fd = harness::Dial(harness::Endpoint::Unix(run.ControlSocket()));
  if (!fd.ok()) throw std::runtime_error(fd.status().ToString());
  return *std::move(fd);
}

Seen WrongUser(FaultRun& run) {
  if (geteuid() != 0) throw Skipped{"only root can be somebody else"};
  // The directory keeps others out; the check behind it is what this is about.
  chmod(run.File("").c_str(), 0755);
  chmod(run.File("run").c_str(), 0755);
  chmod(run.ControlSocket().c_str(), 0666);
  Seen seen;
  bool is_somebody = false;
  // The kernel's own call changes this thread alone.
  std::thread somebody([&] {
    constexpr int kNobody = 65534;
    is_somebody = syscall(SYS_setresuid, kNobody, kNobody, kNobody) == 0;
    if (!is_somebody) return;
    auto client = ControlClient::Connect(run.ControlSocket());
    seen =
        client.ok()
            ? ToSeen(client->Upgrade({.binary = "/bin/true"}, absl::Seconds(20), nullptr).status())
            : ToSeen(client.status());
  });
  somebody.join();
  if (!is_somebody) throw Skipped{"there is nobody else in this user namespace"};
  chmod(run.ControlSocket().c_str(), 0600);
  chmod(run.File("run").c_str(), 0700);
  return seen;
}

Seen SecondUpgrade(FaultRun& run) {
  run.SetPlan("bad rehearsal rehydrate stop");
  run.BeginUpgrade(FaultRun::Program("bad"));
  run.AwaitStop();
  const Seen second = run.Upgrade(FaultRun::Program("v2"));
  run.Go();
  const Seen first = run.AwaitUpgrade();
  run.Expect(first.outcome == "B", "the first upgrade is disturbed: " + first.message);
  return second;
}

Seen MalformedFrame(FaultRun& run) {
  const UniqueFd fd = ConnectRaw(run);
  const std::string garbage("\x10\0\0\0garbage!garbage!", 20);
  if (write(fd.get(), garbage.data(), garbage.size()) < 0) throw std::runtime_error("write");
  return DribbleAndRead(fd.get(), "");
}

Seen FrameTooLong(FaultRun& run) {
  const UniqueFd fd = ConnectRaw(run);
  const std::string prefix = "\xff\xff\xff\x7f";
  if (write(fd.get(), prefix.data(), prefix.size()) < 0) throw std::runtime_error("write");
  return DribbleAndRead(fd.get(), "");
}

Seen OneByteASecond(FaultRun& run) {
  const UniqueFd fd = ConnectRaw(run);
  return DribbleAndRead(fd.get(), std::string("\x60\0\0\0", 4) + std::string(60, 'x'));
}

Seen RequesterKilled(FaultRun& run) {
  run.SetPlan("bad rehearsal rehydrate stop");
  {
    const UniqueFd fd = ConnectRaw(run);
    ControlRequest request{.id = 1, .body = ControlUpgrade{.binary = FaultRun::Program("bad")}};
    const std::string frame = EncodeFrame(request);
    if (write(fd.get(), frame.data(), frame.size()) < 0) throw std::runtime_error("write");
    run.AwaitStop();
  }
  run.Go();
  run.Expect(run.AwaitStat("generation", 1), "the upgrade did not go on");
  return run.LastUpgrade();
}

Seen TooManyRequests(FaultRun& run) {
  auto client = ControlClient::Connect(run.ControlSocket());
  if (!client.ok()) return ToSeen(client.status());
  absl::Status status;
  for (int i = 0; i < 20000 && status.ok(); ++i) status = client->Status().status();
  // The next upgrade is a request too: the bucket fills again at 100 a second.
  const bool served = Eventually([&] {
    auto again = ControlClient::Connect(run.ControlSocket());
    return again.ok() && again->Status().ok();
  });
  run.Expect(served, "no request is served any more");
  return ToSeen(status);
}

Seen RepeatedFailures(FaultRun& run) {
  run.SetPlan("bad rehearsal rehydrate segv");
  for (int i = 0; i < 3; ++i) {
    const Seen failed = run.Upgrade(FaultRun::Program("bad"));
    run.Expect(failed.code == "E_REHEARSAL", "not E_REHEARSAL: " + failed.code);
  }
  return run.Upgrade(FaultRun::Program("bad"));
}

Seen RepeatedRollbacks(FaultRun& run) {
  run.SetPlan("bad upgrade rehydrate segv");
  for (int i = 0; i < 3; ++i) {
    const Seen failed = run.Upgrade(FaultRun::Program("bad"));
    run.Expect(failed.outcome == "C", "not rolled back: " + failed.outcome);
  }
  return run.Upgrade(FaultRun::Program("bad"));
}

Seen LowerEpoch(FaultRun& run) { return run.Upgrade(FaultRun::Program("downgrade")); }

Seen LowerEpochAllowed(FaultRun& run) {
  return run.Upgrade(
      ControlUpgrade{.binary = FaultRun::Program("downgrade"), .allow_downgrade = true});
}

}  // namespace

std::vector<Cell> RequestCells() {
  return {
      {"1", "RefusesAnotherUser", "A", "E_PERM", WrongUser},
      {"2", "RefusesASecondUpgrade", "A", "E_BUSY", SecondUpgrade},
      {"3", "RefusesAMalformedFrame", "A", "E_PROTO", MalformedFrame},
      {"3", "RefusesAFrameThatIsTooLong", "A", "E_PROTO", FrameTooLong},
      {"4", "DropsAClientThatSendsOneByteASecond", "A", "E_TIMEOUT", OneByteASecond},
      {"5", "GoesOnWhenTheRequesterIsKilled", "B", "", RequesterKilled},
      {"6", "LimitsTheRateOfRequests", "A", "E_RATE", TooManyRequests},
      {"7", "DeniesABinaryThatFailedItsRehearsalThreeTimes", "A", "E_DENIED", RepeatedFailures},
      {"7", "DeniesABinaryThatWasRolledBackThreeTimes", "A", "E_DENIED", RepeatedRollbacks},
      {"8", "RefusesALowerSecurityEpoch", "A", "E_DOWNGRADE", LowerEpoch},
      {"8", "TakesALowerSecurityEpochIfAllowed", "B", "", LowerEpochAllowed},
  };
}

}  // namespace liveexec::faults
