#include "tests/faults/victim/state.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>

#include "core/error.h"
#include "tests/faults/victim/misbehaviour.h"
#include "tests/faults/victim/victim.capnp.h"

namespace liveexec::faults {
namespace {

constexpr size_t kBeyondCapnp = size_t{1} << 29;  // a Data has less than that

char PadByte(size_t index) { return static_cast<char>(index * 31 + 7); }

// An unnamed socket pair's end that nobody but the framework has: the channel.
int FindChannel() {
  for (int fd = 1023; fd > 2; --fd) {
    struct sockaddr_storage own = {};
    socklen_t size = sizeof(own);
    if (getsockname(fd, reinterpret_cast<struct sockaddr*>(&own), &size) != 0) continue;
    if (own.ss_family != AF_UNIX || size > sizeof(sa_family_t)) continue;
    struct sockaddr_storage peer = {};
    size = sizeof(peer);
    if (getpeername(fd, reinterpret_cast<struct sockaddr*>(&peer), &size) != 0) continue;
    if (size <= sizeof(sa_family_t)) return fd;
  }
  return -1;
}

}  // namespace

absl::Status State::Initialize() {
  file_ = UniqueFd(open((Directory() + "/data").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file_) return ErrnoError(errno, "open the data file");
  if (flock(file_.get(), LOCK_EX | LOCK_NB) != 0) return ErrnoError(errno, "flock");
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  if (fcntl(file_.get(), F_SETLK, &lock) != 0) return ErrnoError(errno, "lock the data file");
  for (size_t i = 0; i < pad_; ++i) carried_pad_.push_back(PadByte(i));
  return absl::OkStatus();
}

absl::Status State::Quiesce() { return Reach("quiesce"); }

absl::Status State::ExportByPlan(ExportContext& context) const {
  const std::string plan = PlanFor("export");
  if (plan == "carry-userfaultfd") {
    special_ =
        UniqueFd(static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY)));
  } else if (plan == "carry-io-uring") {
    struct io_uring_params parameters = {};
    special_ = UniqueFd(static_cast<int>(syscall(SYS_io_uring_setup, 4, &parameters)));
  } else if (plan == "carry-channel") {
    if (int channel = FindChannel(); channel >= 0) return context.CarryFd("special", channel);
    return absl::OkStatus();  // A snapshot for a rehearsal: there is no channel yet.
  } else if (plan == "huge") {
    context.InitRoot<image::State>().initPad(kBeyondCapnp);
    return absl::OkStatus();
  } else {
    special_.reset();
    return Reach("export");
  }
  if (!special_) return ErrnoError(errno, plan);
  return context.CarryFd("special", special_.get());
}

absl::Status State::Export(ExportContext& context) const {
  auto state = context.InitRoot<image::State>();
  state.setEchoed(echoed);
  state.setChildExits(child_exits);
  state.setUserSignals(user_signals);
  state.setSide(side_requests);
  state.setPad(capnp::Data::Reader(reinterpret_cast<const capnp::byte*>(carried_pad_.data()),
                                   carried_pad_.size()));
  LIVEEXEC_RETURN_IF_ERROR(context.CarryFd("file", file_.get()));
  return ExportByPlan(context);
}

void State::Resume() {
  Reach("resume").IgnoreError();
  if (pause_) PauseIfTraced();
}

absl::Status State::Rehydrate(ImportContext& context) {
  LIVEEXEC_RETURN_IF_ERROR(Reach("rehydrate"));
  LIVEEXEC_ASSIGN_OR_RETURN(auto state, context.Root<image::State>());
  echoed = state.getEchoed();
  child_exits = state.getChildExits();
  user_signals = state.getUserSignals();
  side_requests = state.getSide();
  const auto pad = state.getPad();
  carried_pad_.assign(reinterpret_cast<const char*>(pad.begin()), pad.size());
  LIVEEXEC_ASSIGN_OR_RETURN(file_, context.TakeFd("file"));
  return absl::OkStatus();
}

absl::Status State::SelfCheck() {
  LIVEEXEC_RETURN_IF_ERROR(Reach("selfcheck"));
  if (carried_pad_.size() != pad_) return absl::DataLossError("the pad has another size");
  for (size_t i = 0; i < pad_; ++i) {
    if (carried_pad_[i] != PadByte(i)) return absl::DataLossError("the pad has other bytes");
  }
  return absl::OkStatus();
}

void State::Activate() {
  Reach("activate").IgnoreError();
  if (pause_) PauseIfTraced();
  on_activate_();
  Reach("serving").IgnoreError();
}

}  // namespace liveexec::faults
