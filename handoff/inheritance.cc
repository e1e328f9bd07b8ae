#include "handoff/inheritance.h"

#include <fcntl.h>

#include <algorithm>
#include <iterator>
#include <string_view>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace liveexec {
namespace {

constexpr std::string_view kModeNames[] = {"fresh", "upgrade", "rollback", "resurrection",
                                           "rehearsal"};

std::optional<StartMode> ModeFromName(std::string_view name) {
  for (size_t i = 1; i < std::size(kModeNames); ++i) {
    if (kModeNames[i] == name) return static_cast<StartMode>(i);
  }
  return std::nullopt;
}

bool IsHexadecimal(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// Removes entry `at`, in place: nothing may see the variable later, children least of all.
void RemoveEntry(char** environment, size_t at) {
  for (; environment[at] != nullptr; ++at) environment[at] = environment[at + 1];
}

// Constant-initialized: it is written before the constructors run.
constinit Inheritance process_inheritance;

}  // namespace

std::string_view StartModeName(StartMode mode) { return kModeNames[static_cast<size_t>(mode)]; }

std::string ChannelVariable(const Inheritance& inheritance) {
  absl::string_view nonce(reinterpret_cast<const char*>(inheritance.nonce.data()),
                          inheritance.nonce.size());
  return absl::StrCat(kChannelVariable, "=", inheritance.channel, ":",
                      std::string(StartModeName(inheritance.mode)), ":",
                      absl::BytesToHexString(nonce));
}

std::optional<Inheritance> ParseChannelVariable(std::string_view value) {
  std::vector<std::string> parts =
      absl::StrSplit(absl::string_view(value.data(), value.size()), ':');
  Inheritance inheritance;
  if (parts.size() != 3 || !absl::SimpleAtoi(parts[0], &inheritance.channel)) return std::nullopt;
  if (inheritance.channel < 0) return std::nullopt;
  std::optional<StartMode> mode = ModeFromName(parts[1]);
  if (!mode || parts[2].size() != 2 * inheritance.nonce.size() || !IsHexadecimal(parts[2])) {
    return std::nullopt;
  }
  inheritance.mode = *mode;
  std::string nonce = absl::HexStringToBytes(parts[2]);
  std::copy(nonce.begin(), nonce.end(), inheritance.nonce.begin());
  return inheritance;
}

void TakeInheritance(char** environment) {
  constexpr size_t kNameLength = sizeof(kChannelVariable) - 1;
  for (size_t i = 0; environment[i] != nullptr;) {
    std::string_view entry = environment[i];
    if (!entry.starts_with(kChannelVariable) || entry.size() <= kNameLength ||
        entry[kNameLength] != '=') {
      ++i;
      continue;
    }
    std::optional<Inheritance> inheritance = ParseChannelVariable(entry.substr(kNameLength + 1));
    RemoveEntry(environment, i);
    // A stray variable, from a shell for instance: there is no such fd.
    if (!inheritance || fcntl(inheritance->channel, F_SETFD, FD_CLOEXEC) < 0) continue;
    if (process_inheritance.mode == StartMode::kFresh) process_inheritance = *inheritance;
  }
}

const Inheritance& ProcessInheritance() { return process_inheritance; }

}  // namespace liveexec
