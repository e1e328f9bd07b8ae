#include "demo-server/engine/watches.h"

#include <algorithm>
#include <string>
#include <utility>

namespace liveexec::demo {

void Watches::Watch(Session& session, int database, std::string_view key) {
  KeyName name{database, std::string(key)};
  std::vector<KeyName>& watched = session.transaction.watched;
  if (std::find(watched.begin(), watched.end(), name) != watched.end()) return;
  watchers_[name].push_back(&session);
  watched.push_back(std::move(name));
}

void Watches::Unwatch(Session& session) {
  for (const KeyName& name : session.transaction.watched) {
    auto found = watchers_.find(name);
    if (found == watchers_.end()) continue;
    std::erase(found->second, &session);
    if (found->second.empty()) watchers_.erase(found);
  }
  session.transaction.watched.clear();
  session.transaction.outdated = false;
}

void Watches::Adopt(Session& session) {
  for (const KeyName& name : session.transaction.watched) watchers_[name].push_back(&session);
}

std::vector<std::string> Watches::KeysIn(int database) const {
  std::vector<std::string> keys;
  for (const auto& [name, sessions] : watchers_) {
    if (name.database == database) keys.push_back(name.key);
  }
  return keys;
}

void Watches::Touch(int database, std::string_view key) {
  if (watchers_.empty()) return;
  auto found = watchers_.find(KeyName{database, std::string(key)});
  if (found == watchers_.end()) return;
  for (Session* session : found->second) session->transaction.outdated = true;
}

void Watches::TouchAll(int database, const Database& before, const Database* after) {
  for (const auto& [name, sessions] : watchers_) {
    if (name.database != database) continue;
    const bool touched =
        before.Contains(name.key) || (after != nullptr && after->Contains(name.key));
    if (!touched) continue;
    for (Session* session : sessions) session->transaction.outdated = true;
  }
}

}  // namespace liveexec::demo
