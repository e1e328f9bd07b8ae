#include "tests/harness/script_client.h"

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace liveexec::harness {

absl::StatusOr<Script> Script::Parse(std::string_view text) {
  Script script;
  int number = 0;
  const auto wrong = [&](std::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat("line ", number, " of the script: ", std::string(why)));
  };
  const std::vector<std::string> lines = absl::StrSplit(std::string(text), '\n');
  for (const std::string& line : lines) {
    ++number;
    absl::string_view rest = absl::StripAsciiWhitespace(line);
    if (rest.empty() || rest[0] == '#') continue;
    std::string value;
    if (absl::ConsumePrefix(&rest, "send ")) {
      if (!absl::CUnescape(rest, &value)) return wrong("bad escape");
      if (script.rounds.empty() || !script.rounds.back().expect.empty())
        script.rounds.push_back({});
      script.rounds.back().send += value;
    } else if (absl::ConsumePrefix(&rest, "expect ")) {
      if (!absl::CUnescape(rest, &value)) return wrong("bad escape");
      if (script.rounds.empty()) return wrong("nothing was sent before this is expected");
      script.rounds.back().expect += value;
    } else if (absl::ConsumePrefix(&rest, "think ")) {
      int64_t milliseconds = 0;
      if (!absl::SimpleAtoi(rest, &milliseconds) || milliseconds < 0 || script.rounds.empty())
        return wrong("'think' needs milliseconds, after something was sent");
      script.rounds.back().think = absl::Milliseconds(milliseconds);
    } else {
      return wrong("neither send, expect nor think");
    }
  }
  for (const Round& round : script.rounds) {
    if (round.expect.empty()) return wrong("what is sent needs something to expect");
  }
  if (script.rounds.empty()) return wrong("it is empty");
  return script;
}

Exchange Script::At(uint64_t number) const {
  const Round& round = rounds[number % rounds.size()];
  const std::string n = absl::StrCat(number / rounds.size());
  return {absl::StrReplaceAll(round.send, {{"{n}", n}}),
          absl::StrReplaceAll(round.expect, {{"{n}", n}})};
}

void ScriptClient::Start() {
  if (!only_on_demand_) Next();
}

void ScriptClient::Next() {
  if (!connection().open()) return;
  const Exchange exchange = script_.At(round_);
  ++round_;
  Request(exchange.request, exchange.reply);
}

void ScriptClient::OnReplies() {
  if (!running_ || only_on_demand_ || outstanding() > 0) return;
  const absl::Duration think = script_.rounds[(round_ - 1) % script_.rounds.size()].think;
  const auto most = static_cast<uint64_t>(absl::ToInt64Microseconds(think));
  loop_.After(absl::Microseconds(random_.Below(most + 1)),
              [this, alive = std::weak_ptr<bool>(alive_)] {
                if (!alive.expired() && running_) Next();
              });
}

}  // namespace liveexec::harness
