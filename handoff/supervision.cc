#include "handoff/supervision.h"

#include <algorithm>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/clock.h"
#include "core/error.h"
#include "core/supervisor.h"
#include "handoff/guarded_call.h"
#include "handoff/image_file.h"
#include "handoff/journal_image.h"

namespace liveexec {
namespace {

constexpr char kJournalName[] = "liveexec-journal";
constexpr char kRecorderName[] = "liveexec-recorder";
constexpr char kDied[] = "E_DIED";
constexpr absl::Duration kPatience = absl::Seconds(1);
constexpr size_t kLongestStatus = 300;
constexpr int64_t kSecondNs = 1'000'000'000;

// A line of its own in the message, whatever is in it.
std::string StatusLine(std::string text) {
  if (text.size() > kLongestStatus) text.resize(kLongestStatus);
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  }
  return "STATUS=" + text;
}

std::string Describe(const Program& program) {
  return absl::StrCat("version ", program.note.version, ", ", program.generation, " upgrades");
}

std::string Describe(const JournalEntry& entry) {
  return absl::StrCat("upgrade to ", entry.binary, " ", std::string(OutcomeName(entry.outcome)),
                      ": ", entry.code, ": ", entry.message);
}

// True when the program that serves after the entry is the one that it names.
bool BeganAProgram(const JournalEntry& entry) { return entry.outcome != Outcome::kAbandoned; }

}  // namespace

void ChargeEarlyEnd(Journal& journal, int64_t serving_since_unix_ns, int64_t ended_unix_ns,
                    absl::Duration probation) {
  // A clock that was set back makes no program old.
  const int64_t lived_ns = std::max<int64_t>(ended_unix_ns - serving_since_unix_ns, 0);
  if (absl::Nanoseconds(lived_ns) >= probation) return;
  Journal charged;
  std::vector<JournalEntry> entries(journal.entries().begin(), journal.entries().end());
  const auto last = std::find_if(entries.rbegin(), entries.rend(), BeganAProgram);
  // After a rollback it is the old program that ended; a code tells of a charge before.
  if (last == entries.rend() || last->outcome != Outcome::kCommitted || !last->code.empty()) return;
  last->code = kDied;
  last->message = absl::StrCat("it ended ", lived_ns / kSecondNs,
                               " s after its upgrade had committed, without having been stopped: "
                               "look for a crash in its log before it is tried again");
  last->failed_phase = "committed";
  for (JournalEntry& entry : entries) charged.Add(std::move(entry));
  journal = std::move(charged);
}

void ChargeUndecided(Journal& journal, JournalEntry entry, const FlightReport& report,
                     bool committed) {
  entry.outcome = committed ? Outcome::kCommitted : Outcome::kAbandoned;
  entry.code = committed ? kDied : report.Code();
  entry.message =
      committed ? "it ended as soon as its upgrade had committed: look for a crash in its log "
                  "before it is tried again"
                : absl::StrCat(
                      "the process ended, and nobody could start the old program "
                      "again: ",
                      report.Sentence());
  entry.failed_phase = std::string(PhaseName(committed ? Phase::kCommitted : report.phase));
  journal.Add(std::move(entry));
}

void Supervision::TakeOverJournal() {
  if (!program_.options.keep_journal) return;
  SupervisorFds& given = SupervisorFds::OfThisProcess();
  const auto any = [](int) { return true; };
  const UniqueFd fd = given.Take(kJournalName, any);
  auto recorder = FlightRecorder::Adopt(program_.syscalls, given.Take(kRecorderName, any));
  given.Drop(kJournalName);
  given.Drop(kRecorderName);
  if (!fd) return;
  auto image = ImageFile::Open(program_.syscalls, fd.get(), nullptr);
  if (!image.ok()) return;
  // Damage in what the supervisor kept is no reason not to start.
  (void)GuardedCall("read the journal", [&] {
    auto record = image->message().getRoot<RestartImage>();
    LIVEEXEC_ASSIGN_OR_RETURN(Journal journal, FromImage(record.getJournal()));
    if (record.hasUndecided() && recorder.ok()) {
      LIVEEXEC_ASSIGN_OR_RETURN(JournalEntry entry, FromImage(record.getUndecided()));
      ChargeUndecided(journal, std::move(entry), recorder->Report(),
                      recorder->record()->commit_started != 0);
    } else {
      ChargeEarlyEnd(journal, record.getServingSinceUnixNs(), UnixNs(), program_.options.probation);
    }
    std::lock_guard lock(program_.mutex);
    program_.journal = std::move(journal);
    program_.attempts = record.getUpgradesAttempted();
    return absl::OkStatus();
  });
}

void Supervision::Started() {
  SayReady(Describe(program_));
  // A failure that was charged must not be charged again.
  Keep(nullptr);
}

void Supervision::Upgrading(const JournalEntry& entry) {
  if (!program_.options.notify_supervisor) return;
  NotifySupervisor(absl::StrCat("RELOADING=1\nMONOTONIC_USEC=", MonotonicNs() / 1000, "\n",
                                StatusLine("upgrading to " + entry.binary)),
                   kPatience)
      .IgnoreError();
}

void Supervision::Upgraded(const JournalEntry& entry) {
  SayReady(entry.outcome == Outcome::kCommitted ? Describe(program_) : Describe(entry));
  Keep(nullptr);
}

void Supervision::SayReady(const std::string& status) {
  if (!program_.options.notify_supervisor) return;
  NotifySupervisor(absl::StrCat("READY=1\n", StatusLine(status)), kPatience).IgnoreError();
}

void Supervision::Undecided(const Attempt& attempt) {
  if (!Keeps()) return;
  Keep(&attempt.entry);
  StoreFd(kRecorderName, attempt.recorder.fd(), kPatience).IgnoreError();
}

void Supervision::Stopped() {
  if (!Keeps()) return;
  ForgetStoredFds(kJournalName, kPatience).IgnoreError();
  ForgetStoredFds(kRecorderName, kPatience).IgnoreError();
}

bool Supervision::Keeps() const { return program_.options.keep_journal && HasSupervisor(); }

// What was kept before goes first, so that there are never two: in between, an end is forgotten.
void Supervision::Keep(const JournalEntry* undecided) {
  if (!Keeps()) return;
  capnp::MallocMessageBuilder message;
  auto record = message.initRoot<RestartImage>();
  record.setServingSinceUnixNs(program_.started_unix_ns);
  if (undecided != nullptr) ToImage(*undecided, record.initUndecided());
  {
    std::lock_guard lock(program_.mutex);
    if (undecided == nullptr && program_.journal.entries().empty()) return;
    record.setUpgradesAttempted(program_.attempts);
    ToImage(program_.journal, record.initJournal());
  }
  auto image = WriteImage(program_.syscalls, kJournalName, ImageStamp{}, message);
  if (!image.ok()) return;
  ForgetStoredFds(kRecorderName, kPatience).IgnoreError();
  ForgetStoredFds(kJournalName, kPatience).IgnoreError();
  StoreFd(kJournalName, image->fd.get(), kPatience).IgnoreError();
}

}  // namespace liveexec
