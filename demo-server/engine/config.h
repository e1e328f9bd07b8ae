// Config: the parameters that CONFIG GET shows and CONFIG SET takes.
//
// Clients and their test suites ask for them; a few have an effect here (see their readers), the
// others are only kept. Guarded by the engine's lock.
#ifndef LIVEEXEC_DEMO_SERVER_ENGINE_CONFIG_H_
#define LIVEEXEC_DEMO_SERVER_ENGINE_CONFIG_H_

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace liveexec::demo {

// Hidden parameters: state of the engine as a whole that crosses like what CONFIG SET has changed,
// in every version of the state. CONFIG neither shows nor takes names that begin with a dot.
inline constexpr const char* kActiveExpire = ".active-expire";         // 0: DEBUG SET-ACTIVE-EXPIRE
inline constexpr const char* kPauseUntilMs = ".pause-until-ms";        // on CLOCK_MONOTONIC
inline constexpr const char* kPauseWritesOnly = ".pause-writes-only";  // 1: CLIENT PAUSE ... WRITE

class Config {
 public:
  Config();

  // Adds or replaces, whatever the name.
  void Define(std::string_view name, std::string_view value);
  // False when there is no such parameter. The name's case does not matter.
  bool Set(std::string_view name, std::string_view value);
  std::string Get(std::string_view name) const;
  // Those whose names match one of the glob patterns, hidden ones apart.
  std::vector<std::pair<std::string, std::string>> Matching(
      const std::vector<std::string_view>& patterns) const;

  // What was changed by Set, for the next program.
  const std::map<std::string, std::string>& changed() const { return changed_; }

 private:
  std::map<std::string, std::string> values_;
  std::map<std::string, std::string> changed_;
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_ENGINE_CONFIG_H_
