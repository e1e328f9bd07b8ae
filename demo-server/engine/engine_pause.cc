// Engine: CLIENT PAUSE, and the parameters that the engine itself obeys.
#include <algorithm>
#include <string>

#include "demo-server/engine/call.h"
#include "demo-server/engine/engine.h"
#include "demo-server/protocol/number.h"

namespace liveexec::demo {
namespace {

int64_t Number(const Config& config, std::string_view name) {
  int64_t value = 0;
  return ParseInteger(config.Get(name), &value) ? value : 0;
}

// What may reach replicas, were there any: that is what a pause of writes holds back.
bool MayWrite(const Command& command) {
  return (command.flags & kWrite) != 0 || command.name == "publish" || command.name == "spublish";
}

}  // namespace

void Engine::ApplyConfig() {
  pause_until_ms_ = Number(config_, kPauseUntilMs);
  pause_writes_only_ = config_.Get(kPauseWritesOnly) == "1";
  ApplyLimits();
  password_ = config_.Get("requirepass");
  active_expire_ = config_.Get(kActiveExpire) != "0";
}

void Engine::Pause(int64_t until_ms, bool writes_only) {
  const bool paused = pause_until_ms_ != 0;
  config_.Set(kPauseUntilMs, std::to_string(std::max(until_ms, pause_until_ms_)));
  config_.Set(kPauseWritesOnly, writes_only && (!paused || pause_writes_only_) ? "1" : "0");
  ApplyConfig();
}

void Engine::Unpause() {
  config_.Set(kPauseUntilMs, "0");
  ApplyConfig();
  for (const auto& [id, session] : sessions_) {
    if (!session->postponed) continue;
    EndPostponement(*session);
    session->resume_input = true;
    Pend(*session);
  }
}

bool Engine::Postpone(Session& session) {
  const auto& arguments = session.parser.arguments();
  if (arguments.empty()) return false;
  // One that is wrong is answered at once.
  discarded_.clear();
  Reply unsent(&discarded_, session.protocol);
  const Command* command = Resolve(arguments, unsent);
  if (command == nullptr) return false;
  bool waits = !pause_writes_only_ || MayWrite(*command);
  if (!waits && command->name == "exec") {
    const auto& queued = session.transaction.commands;
    waits = std::any_of(queued.begin(), queued.end(), [&](const auto& words) {
      const Command* known = table_.Find(words[0]);
      return known != nullptr && MayWrite(*known);
    });
  }
  if (waits && !session.postponed) {
    session.postponed = true;
    ++postponed_;
  }
  return waits;
}

void Engine::EndPostponement(Session& session) {
  if (!session.postponed) return;
  session.postponed = false;
  --postponed_;
}

}  // namespace liveexec::demo
