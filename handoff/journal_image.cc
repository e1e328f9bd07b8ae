#include "handoff/journal_image.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/error.h"

namespace liveexec {
namespace {

constexpr size_t kMaxText = 4096;
constexpr size_t kMaxListed = 64;

// Runs `set` with the text, cut. A copy only when it must be cut: a Text needs a terminator.
template <typename Set>
void SetText(const std::string& text, Set set) {
  if (text.size() <= kMaxText) {
    set(capnp::Text::Reader(text.c_str(), text.size()));
    return;
  }
  const std::string copy = text.substr(0, kMaxText);
  set(capnp::Text::Reader(copy.c_str(), copy.size()));
}

std::string Read(capnp::Text::Reader text) {
  return std::string(text.cStr(), std::min(text.size(), kMaxText));
}

}  // namespace

void ToImage(const JournalEntry& entry, JournalEntryImage::Builder image) {
  image.setUpgrade(entry.upgrade);
  SetText(entry.trigger, [&](capnp::Text::Reader text) { image.setTrigger(text); });
  SetText(entry.binary, [&](capnp::Text::Reader text) { image.setBinary(text); });
  SetText(entry.from_version, [&](capnp::Text::Reader text) { image.setFromVersion(text); });
  SetText(entry.to_version, [&](capnp::Text::Reader text) { image.setToVersion(text); });
  image.setOutcome(static_cast<uint8_t>(entry.outcome));
  SetText(entry.code, [&](capnp::Text::Reader text) { image.setCode(text); });
  SetText(entry.message, [&](capnp::Text::Reader text) { image.setMessage(text); });
  SetText(entry.failed_phase, [&](capnp::Text::Reader text) { image.setFailedPhase(text); });
  image.setStartedUnixNs(entry.started_unix_ns);
  image.setBlackoutNs(entry.blackout_ns);
  image.setPid(entry.pid);
  image.setFds(entry.fds);
  image.setStateBytes(entry.state_bytes);

  const size_t left_behind = std::min(entry.fds_left_behind.size(), kMaxListed);
  auto fds = image.initFdsLeftBehind(static_cast<unsigned>(left_behind));
  for (unsigned i = 0; i < left_behind; ++i) {
    SetText(entry.fds_left_behind[i], [&](capnp::Text::Reader text) { fds.set(i, text); });
  }
  const size_t phase_count = std::min(entry.phases.size(), kMaxListed);
  auto phases = image.initPhases(static_cast<unsigned>(phase_count));
  for (unsigned i = 0; i < phase_count; ++i) {
    const PhaseTime& phase = entry.phases[i];
    SetText(phase.phase, [&](capnp::Text::Reader text) { phases[i].setPhase(text); });
    phases[i].setStartNs(phase.start_ns);
    phases[i].setDurationNs(phase.duration_ns);
  }
}

void ToImage(const Journal& journal, JournalImage::Builder image) {
  auto entries = image.initEntries(static_cast<unsigned>(journal.entries().size()));
  unsigned i = 0;
  for (const JournalEntry& entry : journal.entries()) ToImage(entry, entries[i++]);
}

absl::StatusOr<JournalEntry> FromImage(JournalEntryImage::Reader image) {
  if (image.getOutcome() > static_cast<uint8_t>(Outcome::kResurrected)) {
    return absl::InvalidArgumentError(
        absl::StrCat("a journal entry has the unknown outcome ", image.getOutcome()));
  }
  JournalEntry entry;
  entry.upgrade = image.getUpgrade();
  entry.trigger = Read(image.getTrigger());
  entry.binary = Read(image.getBinary());
  entry.from_version = Read(image.getFromVersion());
  entry.to_version = Read(image.getToVersion());
  entry.outcome = static_cast<Outcome>(image.getOutcome());
  entry.code = Read(image.getCode());
  entry.message = Read(image.getMessage());
  entry.failed_phase = Read(image.getFailedPhase());
  entry.started_unix_ns = image.getStartedUnixNs();
  entry.blackout_ns = image.getBlackoutNs();
  entry.pid = image.getPid();
  entry.fds = image.getFds();
  entry.state_bytes = image.getStateBytes();
  for (capnp::Text::Reader fd : image.getFdsLeftBehind()) {
    if (entry.fds_left_behind.size() == kMaxListed) break;
    entry.fds_left_behind.push_back(Read(fd));
  }
  for (PhaseTimeImage::Reader phase : image.getPhases()) {
    if (entry.phases.size() == kMaxListed) break;
    entry.phases.push_back({Read(phase.getPhase()), phase.getStartNs(), phase.getDurationNs()});
  }
  return entry;
}

absl::StatusOr<Journal> FromImage(JournalImage::Reader image) {
  auto entries = image.getEntries();
  const unsigned count = entries.size();
  const unsigned first = count > Journal::kMaxEntries ? count - Journal::kMaxEntries : 0;
  Journal journal;
  for (unsigned i = first; i < count; ++i) {
    LIVEEXEC_ASSIGN_OR_RETURN(JournalEntry entry, FromImage(entries[i]));
    journal.Add(std::move(entry));
  }
  return journal;
}

}  // namespace liveexec
