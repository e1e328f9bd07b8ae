// The image of one session. Included by state_format_impl.h.
#ifndef LIVEEXEC_DEMO_SERVER_STATE_SESSION_IMAGE_H_
#define LIVEEXEC_DEMO_SERVER_STATE_SESSION_IMAGE_H_

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "core/error.h"
#include "demo-server/engine/engine.h"
#include "demo-server/engine/session.h"
#include "demo-server/state/bytes.h"

namespace liveexec::demo {

template <typename Schema>
class SessionImageOf {
 public:
  using Image = typename Schema::SessionImage;

  static void Write(const Session& session, typename Image::Builder image) {
    image.setId(session.id);
    image.setName(ToData(session.name));
    image.setDatabase(static_cast<uint16_t>(session.database));
    image.setProtocol(static_cast<uint8_t>(session.protocol));
    image.setAddress(ToData(session.address));
    image.setLocalAddress(ToData(session.local_address));
    image.setReplyMode(static_cast<uint8_t>(session.reply_mode));
    image.setNoEvict(session.no_evict);
    image.setNoTouch(session.no_touch);
    image.setMonitor(session.monitor);
    image.setAuthenticated(session.authenticated);
    image.setCloseAfterOutput(session.close_after_output);
    image.setKilled(session.killed);
    if (!session.out.empty()) {
      WritePieces(session.out, image.initOutput(static_cast<unsigned>(PiecesOf(session.out))));
    }
    WriteTransaction(session.transaction, image);
    WriteSubscriptions(session, image);
    if (session.tracking.on) WriteTracking(session.tracking, image.initTracking());
    if (session.is_blocked()) WriteBlocked(session.blocked, image.initBlocked());
    WriteAdditions(session, image);
  }

  static absl::Status Read(typename Image::Reader image, const Engine& engine, Session& session) {
    session.id = image.getId();
    if (session.id == 0 || engine.sessions().contains(session.id)) {
      return absl::DataLossError("a session's number is missing or taken");
    }
    session.name = FromData(image.getName());
    session.address = FromData(image.getAddress());
    session.local_address = FromData(image.getLocalAddress());
    session.no_evict = image.getNoEvict();
    session.no_touch = image.getNoTouch();
    session.monitor = image.getMonitor();
    session.authenticated = image.getAuthenticated();
    session.close_after_output = image.getCloseAfterOutput();
    session.killed = image.getKilled();
    ReadPieces(image.getOutput(), session.out);
    ReadNames(image.getChannels(), session.channels);
    ReadNames(image.getPatterns(), session.patterns);
    ReadNames(image.getShardChannels(), session.shard_channels);
    if (image.hasTracking()) ReadTracking(image.getTracking(), session.tracking);
    ReadAdditions(image, engine, session);
    LIVEEXEC_RETURN_IF_ERROR(ReadNumbers(image, session));
    LIVEEXEC_RETURN_IF_ERROR(ReadTransaction(image, session));
    return image.hasBlocked() ? ReadBlocked(image.getBlocked(), session) : absl::OkStatus();
  }

 private:
  static void ReadNames(capnp::List<capnp::Data>::Reader image, ChannelNames& names) {
    for (auto name : image) names.Insert(std::string(FromData(name)));
  }

  static void WriteTransaction(const Transaction& transaction, typename Image::Builder image) {
    image.setOutdated(transaction.outdated);
    if (!transaction.watched.empty()) {
      auto watched = image.initWatched(static_cast<unsigned>(transaction.watched.size()));
      for (unsigned i = 0; i < watched.size(); ++i) {
        watched[i].setDatabase(static_cast<uint16_t>(transaction.watched[i].database));
        watched[i].setKey(ToData(transaction.watched[i].key));
      }
    }
    if (!transaction.open) return;
    auto open = image.initTransaction();
    open.setRefused(transaction.refused);
    auto commands = open.initCommands(static_cast<unsigned>(transaction.commands.size()));
    for (unsigned i = 0; i < commands.size(); ++i) {
      const auto& arguments = transaction.commands[i];
      WriteList(arguments, commands[i].initArguments(static_cast<unsigned>(arguments.size())));
    }
  }

  static void WriteSubscriptions(const Session& session, typename Image::Builder image) {
    auto size = [](const ChannelNames& names) { return static_cast<unsigned>(names.size()); };
    const ChannelNames& channels = session.channels;
    const ChannelNames& patterns = session.patterns;
    const ChannelNames& shards = session.shard_channels;
    if (!channels.empty()) WriteList(channels.InOrder(), image.initChannels(size(channels)));
    if (!patterns.empty()) WriteList(patterns.InOrder(), image.initPatterns(size(patterns)));
    if (!shards.empty()) WriteList(shards.InOrder(), image.initShardChannels(size(shards)));
  }

  template <typename TrackingBuilder>
  static void WriteTracking(const ClientTracking& tracking, TrackingBuilder image) {
    image.setBroadcast(tracking.broadcast);
    image.setOptIn(tracking.opt_in);
    image.setOptOut(tracking.opt_out);
    image.setNoLoop(tracking.no_loop);
    image.setRedirect(tracking.redirect);
    image.setCaching(static_cast<uint8_t>(tracking.hint));
    WriteList(tracking.prefixes,
              image.initPrefixes(static_cast<unsigned>(tracking.prefixes.size())));
    WriteList(tracking.keys, image.initKeys(static_cast<unsigned>(tracking.keys.size())));
  }

  template <typename TrackingReader>
  static void ReadTracking(TrackingReader image, ClientTracking& tracking) {
    tracking.on = true;
    tracking.broadcast = image.getBroadcast();
    tracking.opt_in = image.getOptIn();
    tracking.opt_out = image.getOptOut();
    tracking.no_loop = image.getNoLoop();
    tracking.redirect = image.getRedirect();
    tracking.hint = image.getCaching() == 1   ? CachingHint::kYes
                    : image.getCaching() == 2 ? CachingHint::kNo
                                              : CachingHint::kNone;
    tracking.prefixes = ReadList(image.getPrefixes());
    for (auto key : image.getKeys()) tracking.keys.emplace(FromData(key));
  }

  template <typename BlockedBuilder>
  static void WriteBlocked(const Blocked& blocked, BlockedBuilder image) {
    image.setOperation(static_cast<uint8_t>(blocked.operation));
    image.setFromFront(blocked.from_front);
    image.setToFront(blocked.to_front);
    image.setCount(blocked.count);
    image.setDestination(ToData(blocked.destination));
    WriteList(blocked.keys, image.initKeys(static_cast<unsigned>(blocked.keys.size())));
    image.setDeadlineMs(blocked.deadline_ms);
    image.setSequence(blocked.sequence);
  }

  static void WriteAdditions(const Session& session, typename Image::Builder image) {
    if constexpr (requires { image.setCreatedMs(1); }) {
      image.setCreatedMs(session.created_ms);
      image.setActiveMs(session.active_ms);
      if (!session.library_name.empty()) image.setLibraryName(ToData(session.library_name));
      if (!session.library_version.empty()) {
        image.setLibraryVersion(ToData(session.library_version));
      }
      if (session.last_command != nullptr) {
        image.setLastCommand(ToData(session.last_command->name));
      }
    }
    if constexpr (requires { image.setCommands(1u); }) image.setCommands(session.commands);
  }

  static void ReadAdditions(typename Image::Reader image, const Engine& engine, Session& session) {
    session.created_ms = engine.now();
    session.active_ms = engine.now();
    if constexpr (requires { image.getCreatedMs(); }) {
      if (image.getCreatedMs() > 0) session.created_ms = image.getCreatedMs();
      if (image.getActiveMs() > 0) session.active_ms = image.getActiveMs();
      session.library_name = FromData(image.getLibraryName());
      session.library_version = FromData(image.getLibraryVersion());
      session.last_command = engine.table().FindFull(FromData(image.getLastCommand()));
    }
    if constexpr (requires { image.getCommands(); }) session.commands = image.getCommands();
  }

  static absl::Status ReadNumbers(typename Image::Reader image, Session& session) {
    session.database = image.getDatabase();
    session.protocol = image.getProtocol();
    const uint8_t mode = image.getReplyMode();
    if (session.database >= Keyspace::kDatabases || session.protocol < 2 || session.protocol > 3 ||
        mode > static_cast<uint8_t>(ReplyMode::kSkipThis)) {
      return absl::DataLossError("a session's database, protocol or reply mode cannot be");
    }
    session.reply_mode = static_cast<ReplyMode>(mode);
    return absl::OkStatus();
  }

  static absl::Status ReadTransaction(typename Image::Reader image, Session& session) {
    Transaction& transaction = session.transaction;
    transaction.outdated = image.getOutdated();
    for (auto watched : image.getWatched()) {
      if (watched.getDatabase() >= Keyspace::kDatabases) {
        return absl::DataLossError("a watched key's database cannot be");
      }
      transaction.watched.push_back(
          {watched.getDatabase(), std::string(FromData(watched.getKey()))});
    }
    if (!image.hasTransaction()) return absl::OkStatus();
    transaction.open = true;
    transaction.refused = image.getTransaction().getRefused();
    for (auto command : image.getTransaction().getCommands()) {
      std::vector<std::string> arguments = ReadList(command.getArguments());
      if (arguments.empty()) return absl::DataLossError("a queued command is empty");
      transaction.commands.push_back(std::move(arguments));
    }
    return absl::OkStatus();
  }

  template <typename BlockedReader>
  static absl::Status ReadBlocked(BlockedReader image, Session& session) {
    Blocked& blocked = session.blocked;
    const uint8_t operation = image.getOperation();
    blocked.operation = static_cast<BlockingOperation>(operation);
    blocked.from_front = image.getFromFront();
    blocked.to_front = image.getToFront();
    blocked.count = image.getCount();
    blocked.destination = FromData(image.getDestination());
    blocked.keys = ReadList(image.getKeys());
    blocked.deadline_ms = image.getDeadlineMs();
    blocked.sequence = image.getSequence();
    const bool many = blocked.operation == BlockingOperation::kListPopMany ||
                      blocked.operation == BlockingOperation::kScorePopMany;
    if (operation == 0 || operation > static_cast<uint8_t>(BlockingOperation::kScorePopMany) ||
        blocked.keys.empty() || blocked.deadline_ms < 0 || (many && blocked.count <= 0)) {
      return absl::DataLossError("what a session waits for cannot be");
    }
    return absl::OkStatus();
  }
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_STATE_SESSION_IMAGE_H_
