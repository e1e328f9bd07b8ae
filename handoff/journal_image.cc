#include "handoff/journal_image.h"

#include <algorithm>
#include <string>
#include <vector>

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

// Fills the list that `init` makes, the first kMaxListed of `texts`.
template <typename Init>
void WriteTexts(const std::vector<std::string>& texts, Init init) {
  const size_t count = std::min(texts.size(), kMaxListed);
  auto list = init(static_cast<unsigned>(count));
  for (unsigned i = 0; i < count; ++i) {
    SetText(texts[i], [&](capnp::Text::Reader text) { list.set(i, text); });
  }
}

std::string Read(capnp::Text::Reader text) {
  return std::string(text.cStr(), std::min(text.size(), kMaxText));
}

std::vector<std::string> ReadTexts(capnp::List<capnp::Text>::Reader list) {
  std::vector<std::string> texts;
  for (capnp::Text::Reader text : list) {
    if (texts.size() == kMaxListed) break;
    texts.push_back(Read(text));
  }
  return texts;
}

}  // namespace

void ToImage(const JournalEntry& entry, JournalEntryImage::Builder image) {
  image.setUpgrade(entry.upgrade);
  SetText(entry.trigger, [&](capnp::Text::Reader text) { image.setTrigger(text); });
  SetText(entry.binary, [&](capnp::Text::Reader text) { image.setBinary(text); });
  SetText(entry.binary_identity, [&](capnp::Text::Reader text) { image.setBinaryIdentity(text); });
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

  WriteTexts(entry.fds_left_behind, [&](unsigned n) { return image.initFdsLeftBehind(n); });
  WriteTexts(entry.notes, [&](unsigned n) { return image.initNotes(n); });
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
  entry.binary_identity = Read(image.getBinaryIdentity());
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
  entry.fds_left_behind = ReadTexts(image.getFdsLeftBehind());
  entry.notes = ReadTexts(image.getNotes());
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
