// ChannelNames: the channels or patterns that one client subscribes to, each once, in the order in
// which it has subscribed to them.
//
// Clients see the order when they leave all of them at once, and libraries match such replies with
// what they expect to come last. Guarded by the engine's lock.
#ifndef LIVEEXEC_DEMO_SERVER_ENGINE_CHANNEL_NAMES_H_
#define LIVEEXEC_DEMO_SERVER_ENGINE_CHANNEL_NAMES_H_

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace liveexec::demo {

class ChannelNames {
 public:
  // False when it is there already, and then it keeps its place.
  bool Insert(const std::string& name) { return numbers_.try_emplace(name, next_++).second; }
  // False when it is not there.
  bool Erase(const std::string& name) { return numbers_.erase(name) != 0; }
  void Clear() { numbers_.clear(); }

  size_t size() const { return numbers_.size(); }
  bool empty() const { return numbers_.empty(); }
  // Borrowed until the next change.
  std::vector<std::string_view> InOrder() const {
    std::vector<std::pair<uint64_t, std::string_view>> numbered;
    numbered.reserve(numbers_.size());
    for (const auto& [name, number] : numbers_) numbered.emplace_back(number, name);
    std::sort(numbered.begin(), numbered.end());
    std::vector<std::string_view> names;
    names.reserve(numbered.size());
    for (const auto& [number, name] : numbered) names.push_back(name);
    return names;
  }

 private:
  absl::flat_hash_map<std::string, uint64_t> numbers_;
  uint64_t next_ = 0;
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_ENGINE_CHANNEL_NAMES_H_
