// KeyspaceCopy: writes the key space ahead of an upgrade's blackout, as live migration does it.
//
//   KeyspaceCopy copy(engine, format);
//   while (*copy.Step(MonotonicNs() + 400'000)) {}   // in slices, while the engine serves
//   ... the blackout:
//   copy.Finish();                                   // what has changed since
//   format.WriteKeyspace(engine, stop, &copy, root);
//
// First every key in the order of its hash, then round after round those that have changed
// meanwhile, until few are left, or no fewer than before. The databases tell it of every change
// (ChangeWatch). Accesses are no changes: the statistics of a key are those of when it was copied.
//
// What is still pending of the upgrade before (pending_keys.h) is loaded first; if there is no
// memory for it, there is no copy.
//
// A value is copied at once, however large it is. A key space below a few megabytes is not copied:
// has_copy() is false, and everything goes into the image in the blackout.
//
// The engine's lock is held in all calls, the destructor included.
#ifndef LIVEEXEC_DEMO_SERVER_KEYSPACE_COPY_H_
#define LIVEEXEC_DEMO_SERVER_KEYSPACE_COPY_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "demo-server/data/keyspace.h"
#include "demo-server/engine/engine.h"
#include "demo-server/state/state_format.h"
#include "handoff/bulk_writer.h"

namespace liveexec::demo {

// One database's part in it.
class DatabaseCopy final : public ChangeWatch {
 public:
  explicit DatabaseCopy(const StateFormat& format);

  void OnChange(std::string_view key, uint64_t hash) override;
  void OnClear() override;

  // Copies the keys of the next bucket. False when all have been seen.
  absl::StatusOr<bool> CopySome(Database& database);
  // Begins a round with what has changed; then copies one of those keys at a time. False when the
  // round is over.
  void BeginRound();
  absl::StatusOr<bool> CopyChanged(Database& database);
  // All that has changed, on several threads when it is much: for the blackout.
  absl::Status CopyRest(Database& database);
  size_t changed() const { return changed_.size(); }

  BulkWriter& writer() { return *writer_; }
  const BulkWriter& writer() const { return *writer_; }

 private:
  // To a BulkWriter or a BulkPart. Adds what it weighs (StateFormat::SizeOfKey) to `weight`.
  template <typename To>
  absl::Status WriteTo(To& to, const Entry& entry, uint64_t* weight) const;
  uint64_t WeightOf(BulkRecords::Position position) const;
  void Drop(BulkRecords::Position position);
  std::optional<BulkRecords::Position> FindOld(uint64_t hash, const std::string& key) const;
  absl::Status CopyRestInParallel(Database& database);

  const StateFormat& format_;
  std::unique_ptr<BulkWriter> writer_;
  uint64_t cursor_ = 0;   // of the first round: from here on nothing has been copied yet
  bool scanned_ = false;  // the first round is over
  absl::flat_hash_map<std::string, uint64_t> changed_;   // with their hashes
  std::vector<std::pair<uint64_t, std::string>> round_;  // descending: copied from the back
  std::vector<const Entry*> bucket_;
  uint64_t weight_ = 0;  // of the live records
};

class KeyspaceCopy final : public KeysAhead {
 public:
  // From so many bytes on it is worth it.
  static constexpr size_t kThreshold = 4 << 20;
  // As a threshold: only loads what is pending of the upgrade before.
  static constexpr size_t kOnlyLoad = SIZE_MAX;

  // Of all databases: what to say when there is no memory to load it.
  static absl::Status NoMemoryFor(const Keyspace& keyspace);

  // Both borrowed. `threshold`: instead of kThreshold.
  KeyspaceCopy(Engine& engine, const StateFormat& format, size_t threshold = kThreshold);
  ~KeyspaceCopy() override;
  KeyspaceCopy(const KeyspaceCopy&) = delete;
  KeyspaceCopy& operator=(const KeyspaceCopy&) = delete;

  // Works until about `end_ns` (CLOCK_MONOTONIC); false when there is no more to do ahead. Errors:
  // as BulkWriter, and E_NOMEM when what is pending cannot be loaded, which it stays then.
  absl::StatusOr<bool> Step(int64_t end_ns);
  // Once Step has said false.
  bool has_copy() const { return stage_ == Stage::kDone && attached_; }
  // Copies what has changed since. Internal: the copy does not have as many keys as the databases,
  // which would be a change that nobody was told of.
  absl::Status Finish();

  // The escrow of a database's records; -1 when there are none.
  int escrow_fd(int database) const;
  bool Save(int database, capnp::AnyPointer::Builder image) const override;
  absl::Status Load(int database, capnp::AnyPointer::Reader image) override;

 private:
  enum class Stage { kLoading, kMeasuring, kCopying, kRounds, kDone };

  void EnterNextStage();
  // Each does a small piece; false when its stage is over.
  absl::StatusOr<bool> Piece();
  absl::StatusOr<bool> LoadPiece();
  bool MeasurePiece();
  absl::StatusOr<bool> CopyPiece();
  absl::StatusOr<bool> RoundPiece();
  void Attach();
  void Detach();
  bool BeginRound();
  // The copy of what is database `index` now, or null.
  DatabaseCopy* CopyOf(int index) const;

  Engine& engine_;
  const StateFormat& format_;
  const size_t threshold_;
  Stage stage_ = Stage::kLoading;
  bool attached_ = false;
  std::array<std::unique_ptr<DatabaseCopy>, Keyspace::kDatabases> copies_;
  int database_ = 0;  // that is being measured, copied, ...
  uint64_t cursor_ = 0;
  size_t measured_ = 0;
  int rounds_ = 0;
  size_t last_changed_ = 0;
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_KEYSPACE_COPY_H_
