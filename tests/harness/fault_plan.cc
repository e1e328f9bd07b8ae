#include "tests/harness/fault_plan.h"

#include <algorithm>
#include <array>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/error.h"

namespace liveexec::harness {

namespace {

constexpr std::array<std::string_view, 6> kNames = {"bad-binary", "cut-binary", "twice",
                                                    "resets",     "flood",      "stop"};
constexpr std::array<std::string_view, 3> kMoments = {"before", "during", "after"};
constexpr std::array<std::string_view, 12> kPhases = {
    "checking", "rehearsing", "guarding",  "quiescing", "exporting",   "sealing",
    "sending",  "executing",  "receiving", "verifying", "rehydrating", "self-checking"};

template <size_t kSize>
std::optional<size_t> IndexOf(const std::array<std::string_view, kSize>& names,
                              std::string_view name) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) return std::nullopt;
  return static_cast<size_t>(found - names.begin());
}

template <size_t kSize>
std::string Joined(const std::array<std::string_view, kSize>& names) {
  std::string joined;
  for (const std::string_view name : names)
    absl::StrAppend(&joined, joined.empty() ? "" : ", ", std::string(name));
  return joined;
}

// "before", "+12", "executing"
bool ParseMoment(const std::string& text, Fault& fault) {
  if (const auto moment = IndexOf(kMoments, text)) {
    fault.moment = static_cast<FaultMoment>(*moment);
    return true;
  }
  if (text.size() > 1 && text[0] == '+')
    return absl::SimpleAtoi(text.substr(1), &fault.delay_ms) && fault.delay_ms >= 0;
  fault.phase = text;
  return IndexOf(kPhases, text).has_value();
}

absl::StatusOr<Fault> ParseFault(const std::string& text) {
  const auto wrong = [&] {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' is no FAULT[@before|during|after|+MS|PHASE][:EVERY]; faults: ",
                     Joined(kNames), "; phases: ", Joined(kPhases)));
  };
  Fault fault;
  std::string name = text;
  if (const size_t colon = name.find(':'); colon != std::string::npos) {
    if (!absl::SimpleAtoi(name.substr(colon + 1), &fault.every) || fault.every < 1) return wrong();
    name.resize(colon);
  }
  if (const size_t at = name.find('@'); at != std::string::npos) {
    if (!ParseMoment(name.substr(at + 1), fault)) return wrong();
    name.resize(at);
  }
  const auto kind = IndexOf(kNames, name);
  if (!kind) return wrong();
  fault.kind = static_cast<FaultKind>(*kind);
  // These are upgrades of their own.
  if (fault.kind == FaultKind::kBadBinary || fault.kind == FaultKind::kCutBinary)
    fault.moment = FaultMoment::kBefore;
  return fault;
}

}  // namespace

std::string_view FaultName(FaultKind kind) { return kNames[static_cast<size_t>(kind)]; }

absl::StatusOr<FaultPlan> FaultPlan::Parse(std::string_view text) {
  FaultPlan plan;
  const std::vector<std::string> parts =
      absl::StrSplit(std::string(text), ',', absl::SkipWhitespace());
  for (const std::string& part : parts) {
    const std::string trimmed(absl::StripAsciiWhitespace(part));
    if (trimmed == "none") continue;
    LIVEEXEC_ASSIGN_OR_RETURN(const Fault fault, ParseFault(trimmed));
    plan.faults_.push_back(fault);
  }
  return plan;
}

std::vector<Fault> FaultPlan::At(int number, FaultMoment moment) const {
  std::vector<Fault> faults;
  for (const Fault& fault : faults_) {
    if (fault.moment == moment && number % fault.every == 0) faults.push_back(fault);
  }
  return faults;
}

bool FaultPlan::NeedsPhases() const {
  return std::any_of(faults_.begin(), faults_.end(),
                     [](const Fault& fault) { return !fault.phase.empty(); });
}

bool FaultPlan::Has(FaultKind kind) const {
  return std::any_of(faults_.begin(), faults_.end(),
                     [kind](const Fault& fault) { return fault.kind == kind; });
}

}  // namespace liveexec::harness
