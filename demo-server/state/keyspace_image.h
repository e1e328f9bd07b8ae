// The image of the databases. Included by state_format_impl.h.
#ifndef LIVEEXEC_DEMO_SERVER_STATE_KEYSPACE_IMAGE_H_
#define LIVEEXEC_DEMO_SERVER_STATE_KEYSPACE_IMAGE_H_

#include <algorithm>
#include <cmath>
#include <new>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "core/error.h"
#include "demo-server/engine/engine.h"
#include "demo-server/state/bytes.h"
#include "demo-server/state/state_format.h"

namespace liveexec::demo {

template <typename Schema>
class KeyspaceImageOf {
 public:
  using Image = typename Schema::KeyspaceImage;
  using Key = typename Schema::Key;

  static constexpr bool kHasAccessStatistics = requires(typename Key::Builder key) {
    key.setAccesses(1u);
  };

  // Leaves out the rest of the keys once `stop` is true.
  static void Write(const Engine& engine, StateFormat::Stop stop, const KeysAhead* ahead,
                    typename Image::Builder image) {
    const Keyspace& keyspace = engine.keyspace();
    image.setHashSeed(keyspace.seed());
    image.setNextSessionId(engine.next_session_id());
    WriteStatistics(engine, image);
    WriteParameters(engine, image);
    // Without any when nothing is to be written of them: they cross in resident memory, or a
    // snapshot's time is over.
    if (stop()) return;
    auto databases = image.initDatabases(Keyspace::kDatabases);
    for (int i = 0; i < Keyspace::kDatabases; ++i) {
      auto database = databases[static_cast<unsigned>(i)];
      if (ahead != nullptr && ahead->Save(i, database.getAhead())) continue;
      WriteDatabase(keyspace.database(i), stop, database);
    }
  }

  static absl::Status Read(typename Image::Reader image, Engine& engine, KeysAhead* ahead) {
    if (image.hasDatabases()) engine.keyspace().Reset(image.getHashSeed());
    engine.set_next_session_id(std::max<uint64_t>(image.getNextSessionId(), 1));
    ReadStatistics(image, engine);
    for (auto parameter : image.getParameters()) {
      engine.config().Set(FromData(parameter.getName()), FromData(parameter.getValue()));
    }
    engine.ApplyConfig();
    auto databases = image.getDatabases();
    if (databases.size() > Keyspace::kDatabases) {
      return absl::DataLossError("the image has more databases than there can be");
    }
    for (unsigned i = 0; i < databases.size(); ++i) {
      LIVEEXEC_RETURN_IF_ERROR(ReadDatabase(databases[i], static_cast<int>(i), engine, ahead));
    }
    return absl::OkStatus();
  }

  static void WriteKey(const Entry& entry, typename Key::Builder key) {
    key.setName(ToData(entry.key()));
    key.setExpiresAtMs(entry.expires_at);
    if constexpr (kHasAccessStatistics) {
      key.setAccesses(entry.accesses);
      key.setAccessedAtMs(entry.accessed_at);
    }
    auto value = key.getValue();
    switch (entry.value.type()) {
      case Type::kString:
        return WriteString(*entry.value.As<Bytes>(), value);
      case Type::kList: {
        const List& list = *entry.value.As<List>();
        return WriteList(list, value.initList(static_cast<unsigned>(list.size())));
      }
      case Type::kSet: {
        const auto& nodes = entry.value.As<Set>()->nodes().nodes();
        auto members = value.initSet(static_cast<unsigned>(nodes.size()));
        for (unsigned i = 0; i < nodes.size(); ++i) members.set(i, ToData(nodes[i]->key()));
        return;
      }
      case Type::kSortedSet: {
        const auto& nodes = entry.value.As<SortedSet>()->members().nodes();
        auto members = value.initSortedSet(static_cast<unsigned>(nodes.size()));
        for (unsigned i = 0; i < nodes.size(); ++i) {
          members[i].setMember(ToData(nodes[i]->key()));
          members[i].setScore(nodes[i]->score);
        }
        return;
      }
      case Type::kHash: {
        const auto& nodes = entry.value.As<Hash>()->fields().nodes();
        auto fields = value.initHash(static_cast<unsigned>(nodes.size()));
        for (unsigned i = 0; i < nodes.size(); ++i) {
          fields[i].setName(ToData(nodes[i]->key()));
          fields[i].setValue(ToData(nodes[i]->value));
        }
        return;
      }
    }
  }

  static absl::Status ReadKey(typename Key::Reader key, Database& database, const Engine& engine) {
    const std::string_view name = FromData(key.getName());
    if (database.FindLoaded(name) != nullptr) return absl::DataLossError("a key is there twice");
    Value value(std::string_view{});
    if (!ReadValue(key.getValue(), engine.keyspace().seed(), &value) || value.Empty()) {
      return absl::DataLossError("a key has an impossible value");
    }
    Entry* entry = database.Insert(name, std::move(value));
    try {
      database.SetExpiry(entry, std::max(key.getExpiresAtMs(), kNoExpiry));
    } catch (const std::bad_alloc&) {
      database.Erase(entry);  // or it would be here and still pending
      throw;
    }
    entry->accessed_at = engine.now();
    if constexpr (kHasAccessStatistics) {
      entry->accesses = key.getAccesses();
      if (key.getAccessedAtMs() != 0) entry->accessed_at = key.getAccessedAtMs();
    }
    return absl::OkStatus();
  }

 private:
  // A list has memory for all of its elements from the start, and one that is cut short is zeroed:
  // so lists are small, as a rehearsal's sample ends in the first of them.
  static constexpr size_t kChunkKeys = 256;

  static void WriteStatistics(const Engine& engine, typename Image::Builder image) {
    const Statistics& statistics = engine.statistics();
    image.setStartedMs(statistics.started_ms);
    image.setCommands(statistics.commands);
    image.setConnections(statistics.connections);
    if constexpr (requires { image.setHits(1u); }) {
      image.setHits(statistics.hits);
      image.setMisses(statistics.misses);
      image.setExpired(statistics.expired);
      image.setErrors(statistics.errors);
      image.setInputBytes(statistics.input_bytes);
      image.setOutputBytes(statistics.output_bytes);
      image.setChanges(statistics.changes);
    }
    if constexpr (requires { image.initCalls(1u); }) {
      auto calls = image.initCalls(static_cast<unsigned>(engine.table().size()));
      for (unsigned i = 0; i < calls.size(); ++i) {
        calls[i].setName(ToData(engine.table().all()[i]->name));
        calls[i].setCalls(engine.calls()[i]);
      }
    }
  }

  static void ReadStatistics(typename Image::Reader image, Engine& engine) {
    Statistics& statistics = engine.statistics();
    statistics.started_ms = std::max<int64_t>(image.getStartedMs(), 0);
    statistics.commands = image.getCommands();
    statistics.connections = image.getConnections();
    if constexpr (requires { image.getHits(); }) {
      statistics.hits = image.getHits();
      statistics.misses = image.getMisses();
      statistics.expired = image.getExpired();
      statistics.errors = image.getErrors();
      statistics.input_bytes = image.getInputBytes();
      statistics.output_bytes = image.getOutputBytes();
      statistics.changes = image.getChanges();
    }
    if constexpr (requires { image.getCalls(); }) {
      for (auto calls : image.getCalls()) {
        const Command* command = engine.table().FindFull(FromData(calls.getName()));
        if (command != nullptr) engine.calls()[engine.table().IndexOf(*command)] = calls.getCalls();
      }
    }
  }

  static void WriteParameters(const Engine& engine, typename Image::Builder image) {
    const auto& changed = engine.config().changed();
    auto parameters = image.initParameters(static_cast<unsigned>(changed.size()));
    unsigned i = 0;
    for (const auto& [name, value] : changed) {
      parameters[i].setName(ToData(name));
      parameters[i].setValue(ToData(value));
      ++i;
    }
  }

  template <typename DatabaseBuilder>
  static void WriteDatabase(const Database& database, StateFormat::Stop stop,
                            DatabaseBuilder image) {
    const auto& entries = database.entries();
    auto chunks =
        image.initChunks(static_cast<unsigned>((entries.size() + kChunkKeys - 1) / kChunkKeys));
    for (unsigned c = 0; c < chunks.size(); ++c) {
      const size_t first = c * kChunkKeys;
      const size_t count = std::min(kChunkKeys, entries.size() - first);
      // An orphan, because only those can be cut short.
      auto orphan =
          capnp::Orphanage::getForMessageContaining(image).template newOrphan<capnp::List<Key>>(
              static_cast<unsigned>(count));
      unsigned written = 0;
      for (auto keys = orphan.get(); written < count && !stop(); ++written) {
        WriteKey(*entries[first + written], keys[written]);
      }
      if (written < count) orphan.truncate(written);
      chunks[c].adoptKeys(std::move(orphan));
      if (written < count) return;
    }
  }

  template <typename ValueBuilder>
  static void WriteString(const Bytes& bytes, ValueBuilder value) {
    if (bytes.size() <= kLongestPiece) return value.setString(ToData(bytes));
    WritePieces(bytes, value.initLongString(static_cast<unsigned>(PiecesOf(bytes))));
  }

  template <typename DatabaseReader>
  static absl::Status ReadDatabase(DatabaseReader image, int index, Engine& engine,
                                   KeysAhead* ahead) {
    Database& database = engine.keyspace().database(index);
    if (image.hasAhead()) {
      if (ahead == nullptr || image.getChunks().size() > 0) {
        return absl::DataLossError("a database's keys are said to be where they cannot be");
      }
      return ahead->Load(index, image.getAhead());
    }
    size_t count = 0;
    for (auto chunk : image.getChunks()) count += chunk.getKeys().size();
    database.Reserve(count);
    for (auto chunk : image.getChunks()) {
      for (typename Key::Reader key : chunk.getKeys()) {
        LIVEEXEC_RETURN_IF_ERROR(ReadKey(key, database, engine));
      }
    }
    return absl::OkStatus();
  }

  // False for a value that this program cannot know or that cannot be.
  template <typename ValueReader>
  static bool ReadValue(ValueReader image, uint64_t seed, Value* value) {
    using Which = decltype(image.which());
    switch (image.which()) {
      case Which::STRING:
        value->As<Bytes>()->assign(FromData(image.getString()));
        return true;
      case Which::LONG_STRING:
        ReadPieces(image.getLongString(), *value->As<Bytes>());
        return true;
      case Which::LIST:
        *value = Value(Type::kList, seed);
        for (auto element : image.getList()) value->As<List>()->emplace_back(FromData(element));
        return true;
      case Which::SET:
        *value = Value(Type::kSet, seed);
        value->As<Set>()->Reserve(image.getSet().size());
        for (auto member : image.getSet()) value->As<Set>()->Add(FromData(member));
        return true;
      case Which::SORTED_SET:
        *value = Value(Type::kSortedSet, seed);
        value->As<SortedSet>()->Reserve(image.getSortedSet().size());
        for (auto member : image.getSortedSet()) {
          if (std::isnan(member.getScore())) return false;
          value->As<SortedSet>()->Set(FromData(member.getMember()), member.getScore());
        }
        return true;
      case Which::HASH:
        *value = Value(Type::kHash, seed);
        value->As<Hash>()->Reserve(image.getHash().size());
        for (auto field : image.getHash()) {
          value->As<Hash>()->Set(FromData(field.getName()), FromData(field.getValue()));
        }
        return true;
    }
    return false;
  }
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_STATE_KEYSPACE_IMAGE_H_
