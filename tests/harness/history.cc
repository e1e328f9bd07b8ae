#include "tests/harness/history.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/harness/clock.h"

namespace liveexec::harness {

namespace {

std::string ValueText(int64_t value) { return value == kAbsent ? "absent" : absl::StrCat(value); }

}  // namespace

std::string Operation::ToString(int64_t epoch_ns) const {
  std::string text = absl::StrCat("client ", client, ": ");
  switch (kind) {
    case Kind::kRead:
      absl::StrAppend(&text, "read ", key);
      break;
    case Kind::kWrite:
      absl::StrAppend(&text, "write ", argument, " to ", key);
      break;
    case Kind::kAdd:
      absl::StrAppend(&text, "add ", argument, " to ", key);
      break;
  }
  if (outcome == Outcome::kOk) {
    if (kind != Kind::kWrite) absl::StrAppend(&text, " = ", ValueText(result));
  } else {
    absl::StrAppend(&text, outcome == Outcome::kFail ? " failed" : " (outcome unknown)");
  }
  const auto seconds = [epoch_ns](int64_t ns) { return static_cast<double>(ns - epoch_ns) / 1e9; };
  absl::StrAppend(&text, absl::StrFormat(" [%.4f .. ", seconds(invoked_ns)));
  absl::StrAppend(
      &text, completed_ns == kNever ? "?]" : absl::StrFormat("%.4f s]", seconds(completed_ns)));
  return text;
}

History::Id History::Invoke(int client, const std::string& key, Operation::Kind kind,
                            int64_t argument) {
  operations_.push_back(
      {.client = client, .key = key, .kind = kind, .argument = argument, .invoked_ns = NowNs()});
  return operations_.size() - 1;
}

void History::Ok(Id id, int64_t result) {
  operations_[id].outcome = Operation::Outcome::kOk;
  operations_[id].result = result;
  operations_[id].completed_ns = NowNs();
}

void History::Fail(Id id) {
  operations_[id].outcome = Operation::Outcome::kFail;
  operations_[id].completed_ns = NowNs();
}

void History::Unknown(Id id) { operations_[id].outcome = Operation::Outcome::kUnknown; }

std::map<std::string, std::vector<Operation>> History::ByKey() const {
  std::map<std::string, std::vector<Operation>> keys;
  for (const Operation& operation : operations_) {
    keys[operation.key].push_back(operation);
    Operation& copy = keys[operation.key].back();
    if (copy.outcome == Operation::Outcome::kPending) copy.outcome = Operation::Outcome::kUnknown;
  }
  return keys;
}

}  // namespace liveexec::harness
