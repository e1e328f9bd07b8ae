#include "handoff/journal.h"

#include <utility>

namespace liveexec {

std::string_view OutcomeName(Outcome outcome) {
  switch (outcome) {
    case Outcome::kAbandoned:
      return "abandoned";
    case Outcome::kCommitted:
      return "committed";
    case Outcome::kRolledBack:
      return "rolled back";
    case Outcome::kResurrected:
      return "resurrected";
  }
  return "unknown";
}

void Journal::Add(JournalEntry entry) {
  entries_.push_back(std::move(entry));
  while (entries_.size() > kMaxEntries) entries_.pop_front();
}

}  // namespace liveexec
