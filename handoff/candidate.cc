#include "handoff/candidate.h"

#include <fcntl.h>

#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "core/clock.h"
#include "core/error.h"
#include "core/sha256.h"
#include "handoff/compatibility.h"
#include "handoff/error_code.h"

namespace liveexec {
namespace {

constexpr int64_t kSecondNs = 1'000'000'000;
constexpr int kFreeFailures = 3;
constexpr int64_t kFirstDenialNs = 10 * kSecondNs;
constexpr int64_t kLongestDenialNs = 600 * kSecondNs;

// The program before this one, pinned since it handed over.
absl::StatusOr<PinnedProgram> CheckPrevious(Program& program, Attempt& attempt) {
  if (!program.previous_image) {
    return CodedError("E_NOENT", absl::StatusCode::kNotFound,
                      "there is no program before this one to go back to: name one with upgrade");
  }
  attempt.entry.binary = program.previous_image->path();
  UniqueFd fd(program.syscalls.Fcntl(program.previous_image->fd(), F_DUPFD_CLOEXEC, 3));
  if (!fd) return WithCode(ErrnoError(-fd.get(), "duplicate the previous program"), "E_FDS");
  LIVEEXEC_ASSIGN_OR_RETURN(PinnedImage image, PinnedImage::Adopt(program.syscalls, std::move(fd),
                                                                  program.previous_image->path()));
  // Its permissions were looked at before it ran; by now its name may be another file's.
  LIVEEXEC_ASSIGN_OR_RETURN(ProgramFile file, ReadPinned(program.syscalls, image));
  return PinnedProgram{std::move(image), std::move(file.elf), std::move(file.note)};
}

absl::Status CheckHash(Program& program, const PinnedProgram& candidate, std::string expected) {
  absl::AsciiStrToLower(&expected);
  std::string path = absl::StrCat("/proc/self/fd/", candidate.image.fd());
  UniqueFd fd(program.syscalls.Open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return WithCode(ErrnoError(-fd.get(), "open the candidate"), "E_ACCES");
  int64_t deadline_ns = MonotonicNs() + absl::ToInt64Nanoseconds(program.options.check_deadline);
  auto hash = Sha256OfFile(program.syscalls, fd.get(), deadline_ns);
  if (!hash.ok()) {
    return WithCode(hash.status(), absl::IsDeadlineExceeded(hash.status()) ? "E_TIMEOUT" : "E_IO");
  }
  if (*hash == expected) return absl::OkStatus();
  return CodedError("E_HASH", absl::StatusCode::kFailedPrecondition,
                    absl::StrCat(candidate.image.path(), " has the SHA-256 ", *hash, ", not ",
                                 expected, ": install the right file"));
}

// True when the program itself failed: it ran, in a rehearsal or after exec, or it ended soon after
// it had committed (E_DIED).
bool ProgramFailed(const JournalEntry& entry) {
  if (entry.outcome == Outcome::kCommitted) return !entry.code.empty();
  if (entry.outcome == Outcome::kRolledBack || entry.outcome == Outcome::kResurrected) return true;
  if (entry.outcome != Outcome::kAbandoned || entry.failed_phase != "rehearsing") return false;
  // What a candidate that ran is refused with. All else is the old program's or the machine's.
  constexpr std::string_view kItsFault[] = {"E_REHEARSAL", "E_SCHEMA", "E_APP", "E_ABI",
                                            "E_ADDRESS"};
  return std::ranges::find(kItsFault, entry.code) != std::end(kItsFault);
}

absl::Status CheckDenied(Program& program, const std::string& identity) {
  std::lock_guard lock(program.mutex);
  int64_t wait_ns = DeniedForNs(program.journal, identity, UnixNs());
  if (wait_ns <= 0) return absl::OkStatus();
  return CodedError("E_DENIED", absl::StatusCode::kUnavailable,
                    absl::StrCat("this binary failed several times in a row: install another, or ",
                                 "try again in ", wait_ns / kSecondNs + 1, " s"));
}

// The last time that this very file was started, it had something of its own where resident memory
// has to be.
bool AddressWasTaken(Program& program, const std::string& identity) {
  std::lock_guard lock(program.mutex);
  const auto& entries = program.journal.entries();
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    if (entry->binary_identity != identity) continue;
    return entry->outcome == Outcome::kRolledBack && entry->code == "E_ADDRESS";
  }
  return false;
}

}  // namespace

std::string IdentityText(const FileIdentity& identity) {
  return absl::StrCat(identity.device, ":", identity.inode, ":", identity.size, ":",
                      identity.mtime_ns, ":", identity.ctime_ns);
}

int64_t DeniedForNs(const Journal& journal, const std::string& identity, int64_t now_unix_ns) {
  int failures = 0;
  int64_t last_ns = 0;
  for (auto entry = journal.entries().rbegin(); entry != journal.entries().rend(); ++entry) {
    if (entry->binary_identity != identity) continue;
    if (entry->outcome == Outcome::kCommitted && entry->code.empty()) break;
    if (!ProgramFailed(*entry)) continue;
    if (failures++ == 0) last_ns = entry->started_unix_ns;
  }
  if (failures < kFreeFailures) return 0;
  int doublings = std::min(failures - kFreeFailures, 6);
  int64_t denial_ns = std::min(kFirstDenialNs << doublings, kLongestDenialNs);
  // A clock that was set back must not deny for ever.
  int64_t passed_ns = std::max<int64_t>(now_unix_ns - last_ns, 0);
  return std::max<int64_t>(denial_ns - passed_ns, 0);
}

absl::Status CheckCandidate(Program& program, Attempt& attempt) {
  JournalEntry& entry = attempt.entry;
  auto candidate = attempt.request.to_previous ? CheckPrevious(program, attempt)
                                               : CheckFile(program.syscalls, entry.binary);
  if (!candidate.ok()) return candidate.status();
  entry.to_version = candidate->note.version;
  entry.binary_identity = IdentityText(candidate->image.identity());
  LIVEEXEC_RETURN_IF_ERROR(CheckDenied(program, entry.binary_identity));
  if (!attempt.request.sha256.empty()) {
    LIVEEXEC_RETURN_IF_ERROR(CheckHash(program, *candidate, attempt.request.sha256));
  }
  Downgrades downgrades =
      attempt.request.allow_downgrade ? Downgrades::kAllow : Downgrades::kRefuse;
  LIVEEXEC_RETURN_IF_ERROR(Compare(program.note, candidate->note, downgrades).ToStatus());
  attempt.portable_only = AddressWasTaken(program, entry.binary_identity);
  if (attempt.portable_only) {
    entry.notes.push_back("without resident memory: its address was taken in this binary before");
  }
  attempt.candidate = *std::move(candidate);
  return absl::OkStatus();
}

}  // namespace liveexec
