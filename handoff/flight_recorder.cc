#include "handoff/flight_recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/error_code.h"

namespace liveexec {
namespace {

constexpr size_t kPageSize = 4096;
static_assert(sizeof(FlightRecord) <= kPageSize);
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

template <size_t kSize>
void CopyText(std::string_view text, char (&to)[kSize]) {
  size_t length = std::min(text.size(), kSize - 1);
  memcpy(to, text.data(), length);
  to[length] = '\0';
}

template <size_t kSize>
std::string BoundedText(const char (&from)[kSize]) {
  return std::string(from, strnlen(from, kSize));
}

absl::StatusOr<FlightRecord*> MapRecord(Syscalls& syscalls, int fd) {
  int error = 0;
  void* page = syscalls.Mmap(kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, &error);
  if (page == nullptr) return ErrnoError(-error, "map the flight recorder");
  return static_cast<FlightRecord*>(page);
}

}  // namespace

absl::StatusOr<FlightRecorder> FlightRecorder::Create(Syscalls& syscalls) {
  UniqueFd fd(syscalls.MemfdCreate("liveexec-recorder", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return ErrnoError(-fd.get(), "memfd_create for the flight recorder");
  if (int result = syscalls.Ftruncate(fd.get(), kPageSize); result < 0) {
    return ErrnoError(-result, "size the flight recorder");
  }
  // A page that could be cut off under whoever looks at it would be their end (SIGBUS).
  if (int result = syscalls.Fcntl(fd.get(), F_ADD_SEALS, kSeals); result < 0) {
    return ErrnoError(-result, "seal the flight recorder");
  }
  LIVEEXEC_ASSIGN_OR_RETURN(FlightRecord * record, MapRecord(syscalls, fd.get()));
  record->magic = FlightRecord::kMagic;
  record->phase = static_cast<uint32_t>(Phase::kExecuting);
  return FlightRecorder(std::move(fd), record);
}

absl::StatusOr<FlightRecorder> FlightRecorder::Adopt(Syscalls& syscalls, UniqueFd fd) {
  struct stat file;
  if (int result = syscalls.Fstat(fd.get(), &file); result < 0) {
    return ErrnoError(-result, "fstat the flight recorder");
  }
  if (file.st_size != kPageSize) return absl::DataLossError("the flight recorder has a wrong size");
  // What is no memory file has none.
  const int seals = syscalls.Fcntl(fd.get(), F_GET_SEALS, 0);
  if (seals < 0 && seals != -EINVAL) return ErrnoError(-seals, "read the flight recorder's seals");
  if (seals < 0 || (seals & kSeals) != kSeals) {
    return CodedError("E_SEAL", absl::StatusCode::kDataLoss,
                      "the flight recorder's size is not sealed");
  }
  LIVEEXEC_ASSIGN_OR_RETURN(FlightRecord * record, MapRecord(syscalls, fd.get()));
  FlightRecorder recorder(std::move(fd), record);
  if (record->magic != FlightRecord::kMagic) {
    return absl::DataLossError("the flight recorder's page is not one of ours");
  }
  return recorder;
}

FlightRecorder::FlightRecorder(FlightRecorder&& other) noexcept
    : fd_(std::move(other.fd_)), record_(std::exchange(other.record_, nullptr)) {}

FlightRecorder& FlightRecorder::operator=(FlightRecorder&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(record_, other.record_);
  return *this;
}

FlightRecorder::~FlightRecorder() {
  if (record_ != nullptr) ::munmap(record_, kPageSize);
}

void FlightRecorder::NotePhase(Phase phase) {
  record_->phase = static_cast<uint32_t>(phase);
  int64_t& start = record_->phase_start_ns[static_cast<size_t>(phase)];
  if (start == 0) start = MonotonicNs();
}

int64_t FlightRecorder::PhaseStart(Phase phase) const {
  return record_->phase_start_ns[static_cast<size_t>(phase)];
}

void FlightRecorder::NoteComponent(std::string_view name) { CopyText(name, record_->component); }

void FlightRecorder::NoteProtected(uint64_t begin, uint64_t end) {
  if (begin >= end) return;
  const bool first = record_->protected_end == 0;
  record_->protected_begin = first ? begin : std::min(record_->protected_begin, begin);
  record_->protected_end = std::max(record_->protected_end, end);
}

void FlightRecorder::NoteFailure(FailureKind kind, std::string_view code,
                                 std::string_view message) {
  CopyText(code, record_->code);
  CopyText(message, record_->message);
  record_->failure_kind = static_cast<uint32_t>(kind);
}

FlightReport FlightRecorder::Report() const {
  FlightReport report;
  uint32_t phase = record_->phase;
  if (phase < kPhaseCount) report.phase = static_cast<Phase>(phase);
  report.failure = static_cast<FailureKind>(record_->failure_kind);
  report.signal = record_->signal;
  report.address = record_->address;
  report.instruction = record_->instruction;
  // The page was there, and the access not allowed: reading is.
  report.early_write = record_->signal == SIGSEGV && record_->signal_code == SEGV_ACCERR &&
                       report.address >= record_->protected_begin &&
                       report.address < record_->protected_end;
  report.component = BoundedText(record_->component);
  report.code = BoundedText(record_->code);
  report.message = BoundedText(record_->message);
  return report;
}

std::string FlightReport::Code() const {
  if (!code.empty()) return code;
  switch (failure) {
    case FailureKind::kStatus:
      return "E_INTERNAL";
    case FailureKind::kSignal:
      return early_write ? "E_EARLY" : "E_CRASH";
    case FailureKind::kDeadline:
      return "E_TIMEOUT";
    case FailureKind::kExit:
      return "E_EXIT";
    case FailureKind::kNone:
      break;
  }
  return "E_KILLED";
}

std::string FlightReport::Sentence() const {
  std::string where = absl::StrCat(" while ", std::string(PhaseName(phase)));
  if (!component.empty()) absl::StrAppend(&where, " component ", component);
  switch (failure) {
    case FailureKind::kStatus:
      return absl::StrCat("the new program refused", where, ": ", message);
    case FailureKind::kSignal: {
      const char* name = sigabbrev_np(signal);
      std::string text =
          absl::StrCat(early_write ? "the new program wrote to resident memory before the commit"
                                   : "the new program crashed",
                       where, ": SIG", name != nullptr ? name : absl::StrCat(signal));
      if (signal == SIGSEGV || signal == SIGBUS) {
        absl::StrAppend(&text, " at address 0x", absl::Hex(address));
      }
      if (!function.empty()) absl::StrAppend(&text, " in ", function);
      if (instruction != 0) {
        absl::StrAppend(&text, ", instruction at offset 0x", absl::Hex(instruction));
      }
      if (!message.empty()) absl::StrAppend(&text, " (", message, ")");
      return text + (instruction != 0 ? "; addr2line -e names the line: correct it before it is "
                                        "tried again"
                                      : "; correct it before it is tried again");
    }
    case FailureKind::kDeadline:
      return absl::StrCat("the new program did not finish in time", where,
                          "; raise rehydrate_deadline if it needs longer");
    case FailureKind::kExit:
      return absl::StrCat("the new program called exit", where,
                          "; see what it wrote, and correct it before it is tried again");
    case FailureKind::kNone:
      break;
  }
  return absl::StrCat("the new program was killed", where,
                      "; look for the OOM killer in the kernel's log");
}

}  // namespace liveexec
