// Publish and subscribe.
#include <string>
#include <vector>

#include "demo-server/commands/families.h"
#include "demo-server/engine/call.h"
#include "demo-server/protocol/glob.h"

namespace liveexec::demo {
namespace {

// Shard channels are counted apart from the others.
size_t CountFor(const Session& session, ChannelKind kind) {
  return kind == ChannelKind::kShard ? session.shard_channels.size()
                                     : session.channels.size() + session.patterns.size();
}

void Confirm(Call& call, ChannelKind kind, std::string_view verb, const std::string* channel) {
  call.reply().Push(3);
  call.reply().Bulk(verb);
  if (channel == nullptr) {
    call.reply().Null();
  } else {
    call.reply().Bulk(*channel);
  }
  call.reply().Integer(static_cast<int64_t>(CountFor(call.session(), kind)));
}

void Subscribe(Call& call, ChannelKind kind, std::string_view verb) {
  for (size_t i = 1; i < call.size(); ++i) {
    const std::string channel(call[i]);
    call.engine().pubsub().Subscribe(call.session(), kind, channel);
    Confirm(call, kind, verb, &channel);
  }
}

void Unsubscribe(Call& call, ChannelKind kind, std::string_view verb) {
  std::vector<std::string> channels;
  if (call.size() == 1) {
    for (std::string_view name : PubSub::ListOf(call.session(), kind).InOrder()) {
      channels.emplace_back(name);
    }
  } else {
    for (size_t i = 1; i < call.size(); ++i) channels.emplace_back(call[i]);
  }
  for (const std::string& channel : channels) {
    call.engine().pubsub().Unsubscribe(call.session(), kind, channel);
    Confirm(call, kind, verb, &channel);
  }
  if (channels.empty()) Confirm(call, kind, verb, nullptr);
}

void Publish(Call& call) {
  call.reply().Integer(call.engine().pubsub().Publish(
      call[1], call[2], [&](Session& receiver) { call.engine().Pend(receiver); }));
}

void PublishShard(Call& call) {
  call.reply().Integer(call.engine().pubsub().PublishShard(
      call[1], call[2], [&](Session& receiver) { call.engine().Pend(receiver); }));
}

void ListChannels(Call& call, ChannelKind kind) {
  if (call.size() > 3) return call.SubcommandError();
  std::vector<std::string_view> found;
  for (const auto& [channel, sessions] : call.engine().pubsub().subscribers(kind)) {
    if (call.size() == 2 || GlobMatch(call[2], channel)) found.push_back(channel);
  }
  call.reply().Array(found.size());
  for (std::string_view channel : found) call.reply().Bulk(channel);
}

void CountSubscribers(Call& call, ChannelKind kind) {
  const PubSub::Subscribers& table = call.engine().pubsub().subscribers(kind);
  call.reply().Array((call.size() - 2) * 2);
  for (size_t i = 2; i < call.size(); ++i) {
    call.reply().Bulk(call[i]);
    auto found = table.find(std::string(call[i]));
    call.reply().Integer(found == table.end() ? 0 : static_cast<int64_t>(found->second.size()));
  }
}

void CountPatterns(Call& call) {
  call.reply().Integer(
      static_cast<int64_t>(call.engine().pubsub().subscribers(ChannelKind::kPattern).size()));
}

void Help(Call& call) {
  constexpr std::string_view kLines[] = {
      "PUBSUB CHANNELS [pattern]: channels with subscribers.",
      "PUBSUB NUMSUB [channel ...]: how many subscribe to each.",
      "PUBSUB NUMPAT: how many patterns are subscribed to.",
      "PUBSUB SHARDCHANNELS [pattern], SHARDNUMSUB [channel ...]: the same for shard channels.",
  };
  call.reply().Array(std::size(kLines));
  for (std::string_view line : kLines) call.reply().Simple(line);
}

using Kind = ChannelKind;
constexpr uint32_t kFlags = kPubSub | kSubscriber;

constexpr Command kCommands[] = {
    {"subscribe", -2, kFlags, 0, 0, 0, Group::kPubSub,
     [](Call& call) { Subscribe(call, Kind::kChannel, "subscribe"); }, "Listen to channels"},
    {"unsubscribe", -1, kFlags, 0, 0, 0, Group::kPubSub,
     [](Call& call) { Unsubscribe(call, Kind::kChannel, "unsubscribe"); },
     "Stop listening to channels"},
    {"psubscribe", -2, kFlags, 0, 0, 0, Group::kPubSub,
     [](Call& call) { Subscribe(call, Kind::kPattern, "psubscribe"); },
     "Listen to channels that match patterns"},
    {"punsubscribe", -1, kFlags, 0, 0, 0, Group::kPubSub,
     [](Call& call) { Unsubscribe(call, Kind::kPattern, "punsubscribe"); },
     "Stop listening to patterns"},
    {"ssubscribe", -2, kFlags, 1, -1, 1, Group::kPubSub,
     [](Call& call) { Subscribe(call, Kind::kShard, "ssubscribe"); }, "Listen to shard channels"},
    {"sunsubscribe", -1, kFlags, 1, -1, 1, Group::kPubSub,
     [](Call& call) { Unsubscribe(call, Kind::kShard, "sunsubscribe"); },
     "Stop listening to shard channels"},
    {"publish", 3, kPubSub | kFast, 0, 0, 0, Group::kPubSub, Publish, "Send a message"},
    {"spublish", 3, kPubSub | kFast, 1, 1, 1, Group::kPubSub, PublishShard,
     "Send a message to a shard channel"},
    {"pubsub", -2, kContainer, 0, 0, 0, Group::kPubSub, nullptr, "Facts about subscriptions"},
    {"pubsub|channels", -2, kPubSub, 0, 0, 0, Group::kPubSub,
     [](Call& call) { ListChannels(call, Kind::kChannel); }, "Channels with subscribers"},
    {"pubsub|numsub", -2, kPubSub, 0, 0, 0, Group::kPubSub,
     [](Call& call) { CountSubscribers(call, Kind::kChannel); }, "Subscribers of channels"},
    {"pubsub|numpat", 2, kPubSub, 0, 0, 0, Group::kPubSub, CountPatterns, "Number of patterns"},
    {"pubsub|shardchannels", -2, kPubSub, 0, 0, 0, Group::kPubSub,
     [](Call& call) { ListChannels(call, Kind::kShard); }, "Shard channels with subscribers"},
    {"pubsub|shardnumsub", -2, kPubSub, 0, 0, 0, Group::kPubSub,
     [](Call& call) { CountSubscribers(call, Kind::kShard); }, "Subscribers of shard channels"},
    {"pubsub|help", 2, 0, 0, 0, 0, Group::kPubSub, Help, "Help"},
};

}  // namespace

absl::Span<const Command> PubSubCommands() { return kCommands; }

}  // namespace liveexec::demo
