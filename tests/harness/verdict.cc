#include "tests/harness/verdict.h"

#include <array>

#include "absl/strings/str_cat.h"

namespace liveexec::harness {

namespace {

struct Entry {
  std::string_view name;
  std::string_view meaning;
};

// In the order of the enumeration.
constexpr std::array<Entry, kVerdicts> kEntries = {{
    {"invisible", "No client and no look at the process noticed an upgrade."},
    {"connection-lost", "The server ended a connection that its client wanted to keep."},
    {"connection-refused", "A new connection was refused, or reset before it was served."},
    {"byte-lost", "Bytes of a stream are missing, and later ones arrived."},
    {"byte-doubled", "Bytes of a stream came more than once."},
    {"byte-reordered", "Bytes of a stream came in another order."},
    {"byte-foreign", "Bytes came that nobody sent."},
    {"reply-missing", "A request was never answered, although its connection stayed open."},
    {"answered-twice", "A reply came to which there was no request any more."},
    {"wrong-reply", "A reply came that cannot be right."},
    {"write-lost", "An acknowledged write is not there: no order of the operations explains it."},
    {"write-doubled", "A write took effect more often than it was asked for."},
    {"message-lost", "Messages or datagrams did not arrive, or arrived twice or out of order."},
    {"timer-forgotten", "What should have happened at a given time did not."},
    {"stalled", "A client waited longer for a reply than is allowed."},
    {"pid-changed", "Another process serves."},
    {"process-changed", "The process's traits are not what they were."},
    {"fd-leaked", "The process holds more fds with each upgrade, or lost one."},
    {"memory-leaked", "The process's memory grows with each upgrade."},
    {"thread-leaked", "The process has another number of threads."},
    {"child-forgotten", "A child process is gone, or became a zombie that nobody reaps."},
    {"lock-lost", "A file lock is no longer held."},
    {"upgrade-failed", "An upgrade did not happen, or another one than was asked for."},
    {"server-died", "The server's process ended."},
}};

}  // namespace

std::string_view VerdictName(Verdict verdict) {
  return kEntries[static_cast<size_t>(verdict)].name;
}

std::string_view VerdictMeaning(Verdict verdict) {
  return kEntries[static_cast<size_t>(verdict)].meaning;
}

std::optional<Verdict> VerdictFromName(std::string_view name) {
  for (int i = 0; i < kVerdicts; ++i) {
    if (kEntries[static_cast<size_t>(i)].name == name) return static_cast<Verdict>(i);
  }
  return std::nullopt;
}

std::string Anomaly::ToString() const {
  const std::string where = upgrade == 0
                                ? ""
                                : absl::StrCat(", upgrade ", upgrade, binary.empty() ? "" : " to ",
                                               binary, phase.empty() ? "" : ", ", phase);
  return absl::StrCat(std::string(VerdictName(verdict)), ": ", who, where, ": ", text);
}

}  // namespace liveexec::harness
