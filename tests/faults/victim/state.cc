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
#include "core/resident_map.h"
#include "tests/faults/victim/misbehaviour.h"
#include "tests/faults/victim/victim.capnp.h"

namespace liveexec::faults {
namespace {

constexpr int kMapEntries = 1000;                 // in each shard
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
  FillMemory();
  return absl::OkStatus();
}

void State::FillMemory() {
  for (size_t shard = 0; memory_.has_heap() && shard < memory_.shards(); ++shard) {
    ResidentHeap& heap = memory_.heap(shard);
    auto* map = ResidentMap::Make(&heap, shard);
    for (int i = 0; i < kMapEntries; ++i) map->Set(std::to_string(i), std::string(100, 'v'));
    heap.set_root(map);
  }
}

absl::Status State::CheckMemory() const {
  for (size_t shard = 0; memory_.has_heap() && shard < memory_.shards(); ++shard) {
    const auto* map = static_cast<const ResidentMap*>(memory_.heap(shard).root());
    if (map == nullptr || map->size() != kMapEntries ||
        map->Find(std::to_string(kMapEntries - 1)) != std::string(100, 'v')) {
      return absl::DataLossError("resident memory has another content");
    }
  }
  return absl::OkStatus();
}

void State::WriteEarly(std::string_view point) {
  const std::string plan = PlanFor(point);
  if (plan.rfind("early-write ", 0) != 0) return;
  const size_t shard = plan.back() == '1' ? 1 : 0;
  static_cast<ResidentMap*>(memory_.heap(shard).root())->Set("too", "early");
}

absl::Status State::Quiesce() {
  if (refuse_) return absl::InternalError("it refuses, as it was told when it began");
  if (PlanFor("quiesce") == "torn") memory_.heap(1).BeginUpdate();
  return Reach("quiesce");
}

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
  if (memory_.heap(1).in_update()) memory_.heap(1).EndUpdate();
  Reach("resume").IgnoreError();
  if (pause_) PauseIfTraced();
}

absl::Status State::Rehydrate(ImportContext& context) {
  if (!memory_.arrived()) FillMemory();
  WriteEarly("rehydrate");
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
  LIVEEXEC_RETURN_IF_ERROR(CheckMemory());
  WriteEarly("selfcheck");
  LIVEEXEC_RETURN_IF_ERROR(Reach("selfcheck"));
  if (carried_pad_.size() != pad_) return absl::DataLossError("the pad has another size");
  for (size_t i = 0; i < pad_; ++i) {
    if (carried_pad_[i] != PadByte(i)) return absl::DataLossError("the pad has other bytes");
  }
  return absl::OkStatus();
}

void State::ActivateByPlan() {
  const std::string plan = PlanFor("activate");
  if (plan == "miscount") ++echoed;
  if (plan == "unlock") flock(file_.get(), LOCK_UN);
  refuse_ = plan == "refuse-next";
  Reach("activate").IgnoreError();
}

void State::Activate() {
  ActivateByPlan();
  if (pause_) PauseIfTraced();
  on_activate_();
  Reach("serving").IgnoreError();
}

}  // namespace liveexec::faults
