// PendingKeys: the keys of a database that were copied ahead of an upgrade, in the program that
// took over. They are loaded into the table when a command asks for them, and bit by bit.
//
// A key for which there is no memory is kept, and std::bad_alloc says so: who asked for it gets an
// error, and it is tried again when somebody asks for it again. Only a record that cannot be read
// is lost. What the keys will take is owed to them: writes may not take it (storage_owed).
#ifndef LIVEEXEC_DEMO_SERVER_PENDING_KEYS_H_
#define LIVEEXEC_DEMO_SERVER_PENDING_KEYS_H_

#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "core/unique_fd.h"
#include "demo-server/data/keyspace.h"
#include "demo-server/engine/engine.h"
#include "demo-server/state/state_format.h"
#include "handoff/bulk.capnp.h"
#include "handoff/bulk_records.h"

namespace liveexec::demo {

// Guarded by the engine's lock, like the database.
class PendingKeys final : public PendingEntries {
 public:
  // Engine and format are borrowed. DataLoss: the records are not what `image` says, or of a kind
  // that this program does not know.
  static absl::StatusOr<std::unique_ptr<PendingKeys>> Open(Engine& engine,
                                                           const StateFormat& format,
                                                           UniqueFd escrow,
                                                           image::BulkSet::Reader image);

  ~PendingKeys() override;

  // Takes what their table needs at once, so that it does not have to grow when little is left. The
  // database has no keys but these. Nothing happens when there is no memory.
  void ReserveTable(Database& database);

  size_t size() const override { return records_.size(); }
  size_t volatile_size() const override { return records_.marked(); }
  bool Contains(std::string_view key, uint64_t hash) const override;
  bool Load(Database& database, std::string_view key, uint64_t hash) override;
  bool Drop(std::string_view key, uint64_t hash) override;
  void LoadRange(Database& database, uint64_t first, uint64_t last) override;
  void LoadSome(Database& database) override;
  void ForEachKey(Visit visit) const override;
  Entry* LoadRandom(Database& database, absl::FunctionRef<uint64_t()> random) override;
  void Clear() override;

 private:
  PendingKeys(Engine& engine, const StateFormat& format, BulkRecords records);
  std::optional<BulkRecords::Position> Find(std::string_view key, uint64_t hash) const;
  // Null, and counted in the engine's statistics, when the record cannot be read: then a memory
  // file is damaged. std::bad_alloc leaves it as it is.
  Entry* LoadAt(Database& database, BulkRecords::Position position);
  // The record is gone, which weighed that much.
  void Forget(BulkRecords::Position position, uint64_t weight);
  // Brings storage_owed up to date.
  void Owe();

  Engine& engine_;
  const StateFormat& format_;
  BulkRecords records_;
  uint64_t next_hash_ = 0;  // where LoadSome goes on
  bool has_table_ = false;  // ReserveTable succeeded
  size_t owed_ = 0;         // our part of storage_owed
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_PENDING_KEYS_H_
