#include "demo-server/engine/pubsub.h"

#include <algorithm>

#include "demo-server/protocol/glob.h"
#include "demo-server/protocol/reply.h"

namespace liveexec::demo {
namespace {

constexpr ChannelKind kKinds[] = {ChannelKind::kChannel, ChannelKind::kPattern,
                                  ChannelKind::kShard};

void Deliver(Session& session, std::string_view type, std::string_view channel,
             std::string_view message) {
  Reply reply(&session.out, session.protocol);
  reply.Push(3);
  reply.Bulk(type);
  reply.Bulk(channel);
  reply.Bulk(message);
}

void DeliverByPattern(Session& session, std::string_view pattern, std::string_view channel,
                      std::string_view message) {
  Reply reply(&session.out, session.protocol);
  reply.Push(4);
  reply.Bulk("pmessage");
  reply.Bulk(pattern);
  reply.Bulk(channel);
  reply.Bulk(message);
}

}  // namespace

ChannelNames& PubSub::ListOf(Session& session, ChannelKind kind) {
  switch (kind) {
    case ChannelKind::kPattern:
      return session.patterns;
    case ChannelKind::kShard:
      return session.shard_channels;
    case ChannelKind::kChannel:
      break;
  }
  return session.channels;
}

bool PubSub::Subscribe(Session& session, ChannelKind kind, std::string_view channel) {
  const std::string name(channel);
  if (!ListOf(session, kind).Insert(name)) return false;
  tables_[Index(kind)][name].insert(&session);
  return true;
}

bool PubSub::Unsubscribe(Session& session, ChannelKind kind, std::string_view channel) {
  const std::string name(channel);
  if (!ListOf(session, kind).Erase(name)) return false;
  RemoveFrom(kind, name, session);
  return true;
}

void PubSub::RemoveFrom(ChannelKind kind, const std::string& channel, Session& session) {
  auto found = tables_[Index(kind)].find(channel);
  if (found == tables_[Index(kind)].end()) return;
  found->second.erase(&session);
  if (found->second.empty()) tables_[Index(kind)].erase(found);
}

void PubSub::Forget(Session& session) {
  for (ChannelKind kind : kKinds) {
    for (std::string_view channel : ListOf(session, kind).InOrder()) {
      RemoveFrom(kind, std::string(channel), session);
    }
    ListOf(session, kind).Clear();
  }
}

void PubSub::Adopt(Session& session) {
  for (ChannelKind kind : kKinds) {
    for (std::string_view channel : ListOf(session, kind).InOrder()) {
      tables_[Index(kind)][std::string(channel)].insert(&session);
    }
  }
}

int PubSub::Publish(std::string_view channel, std::string_view message,
                    absl::FunctionRef<void(Session&)> delivered) {
  int receivers = 0;
  const Subscribers& direct = tables_[Index(ChannelKind::kChannel)];
  if (auto found = direct.find(std::string(channel)); found != direct.end()) {
    for (Session* session : found->second) {
      Deliver(*session, "message", channel, message);
      delivered(*session);
      ++receivers;
    }
  }
  for (const auto& [pattern, sessions] : tables_[Index(ChannelKind::kPattern)]) {
    if (!GlobMatch(pattern, channel)) continue;
    for (Session* session : sessions) {
      DeliverByPattern(*session, pattern, channel, message);
      delivered(*session);
      ++receivers;
    }
  }
  return receivers;
}

int PubSub::PublishShard(std::string_view channel, std::string_view message,
                         absl::FunctionRef<void(Session&)> delivered) {
  const Subscribers& table = tables_[Index(ChannelKind::kShard)];
  auto found = table.find(std::string(channel));
  if (found == table.end()) return 0;
  for (Session* session : found->second) {
    Deliver(*session, "smessage", channel, message);
    delivered(*session);
  }
  return static_cast<int>(found->second.size());
}

}  // namespace liveexec::demo
