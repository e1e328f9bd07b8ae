#include "demo-server/keyspace_copy.h"

#include <algorithm>
#include <functional>
#include <new>
#include <thread>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/bulk.capnp.h"
#include "handoff/error_code.h"
#include "handoff/phase.h"

namespace liveexec::demo {
namespace {

// Rounds of changes end when so few keys are left as cost about a millisecond; or when a round
// leaves more than three quarters of what the one before left; or after so many.
constexpr size_t kFewChanges = 256;
constexpr int kMostRounds = 16;
// In the blackout: so many are worth some threads.
constexpr size_t kManyChanges = 2048;
constexpr size_t kMostThreads = 8;
constexpr int kHashShift = 16;  // from a hash to a cursor: Dict::Scan

// About how many bytes the elements of a table take, judged by its first one.
template <typename Node>
size_t SizeOfNodes(const Dict<Node>& table) {
  if (table.empty()) return 0;
  const Node* first = table.nodes()[0];
  size_t size = sizeof(Node) + first->key_size;
  if constexpr (std::is_same_v<Node, Field>) size += first->value.size();
  return size * table.size();
}

// About how many bytes an entry takes.
size_t SizeOf(const Entry& entry) {
  const size_t size = sizeof(Entry) + entry.key_size;
  switch (entry.value.type()) {
    case Type::kString:
      return size + entry.value.As<Bytes>()->size();
    case Type::kList: {
      const List& list = *entry.value.As<List>();
      return size + (list.empty() ? 0 : (sizeof(Bytes) + list.front().size()) * list.size());
    }
    case Type::kSet:
      return size + SizeOfNodes(entry.value.As<Set>()->nodes());
    case Type::kSortedSet:
      return size + SizeOfNodes(entry.value.As<SortedSet>()->members());
    case Type::kHash:
      return size + SizeOfNodes(entry.value.As<Hash>()->fields());
  }
  return size;
}

}  // namespace

// ---- DatabaseCopy

DatabaseCopy::DatabaseCopy(const StateFormat& format)
    : format_(format), writer_(std::make_unique<BulkWriter>("liveexec-keyspace")) {}

void DatabaseCopy::OnChange(std::string_view key, uint64_t hash) {
  // What the first round has not come to yet it will find as it is then.
  if (!scanned_ && hash >> kHashShift >= cursor_) return;
  changed_.try_emplace(std::string(key), hash);
}

void DatabaseCopy::OnClear() {
  writer_ = std::make_unique<BulkWriter>("liveexec-keyspace");
  changed_.clear();
  round_.clear();
  weight_ = 0;
  // There is nothing left to see; what comes now is a change.
  scanned_ = true;
}

template <typename To>
absl::Status DatabaseCopy::WriteTo(To& to, const Entry& entry, uint64_t* weight) const {
  return to.Add(entry.hash, entry.expires_at != kNoExpiry,
                static_cast<unsigned>(entry.value.type()), [&](capnp::AnyPointer::Builder root) {
                  format_.WriteKey(entry, root);
                  *weight += format_.SizeOfKey(root.asReader());
                });
}

uint64_t DatabaseCopy::WeightOf(BulkRecords::Position position) const {
  uint64_t weight = 0;
  // One that cannot be read has none, and is found out when it is asked for.
  (void)writer_->records().Read(position, [&](capnp::AnyPointer::Reader root) {
    weight = format_.SizeOfKey(root);
    return absl::OkStatus();
  });
  return weight;
}

void DatabaseCopy::Drop(BulkRecords::Position position) {
  weight_ -= std::min(weight_, WeightOf(position));
  writer_->records().Drop(position);
}

absl::StatusOr<bool> DatabaseCopy::CopySome(Database& database) {
  if (scanned_) return false;
  bucket_.clear();
  cursor_ = database.Scan(cursor_, [&](const Entry* entry) { bucket_.push_back(entry); });
  scanned_ = cursor_ == 0;
  std::sort(bucket_.begin(), bucket_.end(),
            [](const Entry* a, const Entry* b) { return a->hash < b->hash; });
  for (const Entry* entry : bucket_) LIVEEXEC_RETURN_IF_ERROR(WriteTo(*writer_, *entry, &weight_));
  return !scanned_;
}

void DatabaseCopy::BeginRound() {
  round_.clear();
  round_.reserve(changed_.size());
  for (const auto& [key, hash] : changed_) round_.emplace_back(hash, key);
  changed_.clear();
  std::sort(round_.begin(), round_.end(), std::greater<>());
}

std::optional<BulkRecords::Position> DatabaseCopy::FindOld(uint64_t hash,
                                                           const std::string& key) const {
  return writer_->records().Find(
      hash, [&](capnp::AnyPointer::Reader root) { return format_.PeekKey(root).name == key; });
}

absl::StatusOr<bool> DatabaseCopy::CopyChanged(Database& database) {
  if (round_.empty()) return false;
  const auto [hash, key] = std::move(round_.back());
  round_.pop_back();
  if (const auto old = FindOld(hash, key); old.has_value()) Drop(*old);
  if (const Entry* entry = database.FindLoaded(key); entry != nullptr) {
    LIVEEXEC_RETURN_IF_ERROR(WriteTo(*writer_, *entry, &weight_));
  }
  return !round_.empty();
}

absl::Status DatabaseCopy::CopyRest(Database& database) {
  BeginRound();
  if (round_.size() >= kManyChanges) return CopyRestInParallel(database);
  for (bool more = true; more;) {
    LIVEEXEC_ASSIGN_OR_RETURN(more, CopyChanged(database));
  }
  LIVEEXEC_RETURN_IF_ERROR(writer_->Finish());
  writer_->records().set_weight(weight_);
  return absl::OkStatus();
}

absl::Status DatabaseCopy::CopyRestInParallel(Database& database) {
  LIVEEXEC_RETURN_IF_ERROR(writer_->Finish());
  const size_t parts = std::clamp<size_t>(std::thread::hardware_concurrency(), 1, kMostThreads);
  std::vector<std::vector<BulkRecords::Position>> old(parts);
  std::vector<uint64_t> gained(parts);
  std::vector<uint64_t> lost(parts);
  const absl::Status written = writer_->WriteParts(parts, [&](size_t part, BulkPart& to) {
    // round_ is in descending order.
    const size_t begin = round_.size() * part / parts;
    for (size_t i = round_.size() * (part + 1) / parts; i > begin; --i) {
      const auto& [hash, key] = round_[i - 1];
      if (const auto found = FindOld(hash, key); found.has_value()) {
        old[part].push_back(*found);
        lost[part] += WeightOf(*found);
      }
      const Entry* entry = database.FindLoaded(key);
      if (entry == nullptr) continue;
      LIVEEXEC_RETURN_IF_ERROR(WriteTo(to, *entry, &gained[part]));
    }
    return absl::OkStatus();
  });
  round_.clear();
  if (!written.ok()) return written;
  for (const auto& positions : old) {
    for (const BulkRecords::Position position : positions) writer_->records().Drop(position);
  }
  for (size_t part = 0; part < parts; ++part) {
    weight_ += gained[part];
    weight_ -= std::min(weight_, lost[part]);
  }
  writer_->records().set_weight(weight_);
  return absl::OkStatus();
}

// ---- KeyspaceCopy

KeyspaceCopy::KeyspaceCopy(Engine& engine, const StateFormat& format, size_t threshold)
    : engine_(engine), format_(format), threshold_(threshold) {}

KeyspaceCopy::~KeyspaceCopy() { Detach(); }

void KeyspaceCopy::Attach() {
  for (int i = 0; i < Keyspace::kDatabases; ++i) {
    auto& copy = copies_[static_cast<size_t>(i)];
    copy = std::make_unique<DatabaseCopy>(format_);
    engine_.keyspace().database(i).set_watch(copy.get());
  }
  attached_ = true;
}

void KeyspaceCopy::Detach() {
  if (!attached_) return;
  for (int i = 0; i < Keyspace::kDatabases; ++i) engine_.keyspace().database(i).set_watch(nullptr);
  attached_ = false;
}

DatabaseCopy* KeyspaceCopy::CopyOf(int index) const {
  const ChangeWatch* watch = engine_.keyspace().database(index).watch();
  for (const auto& copy : copies_) {
    if (copy != nullptr && copy.get() == watch) return copy.get();
  }
  return nullptr;
}

absl::StatusOr<bool> KeyspaceCopy::Step(int64_t end_ns) {
  while (stage_ != Stage::kDone && MonotonicNs() < end_ns) {
    LIVEEXEC_ASSIGN_OR_RETURN(const bool more, Piece());
    if (!more) EnterNextStage();
  }
  return stage_ != Stage::kDone;
}

void KeyspaceCopy::EnterNextStage() {
  database_ = 0;
  cursor_ = 0;
  if (stage_ == Stage::kMeasuring && measured_ >= threshold_) Attach();
  const bool small = stage_ == Stage::kMeasuring && !attached_;
  stage_ = small ? Stage::kDone : static_cast<Stage>(static_cast<int>(stage_) + 1);
  if (stage_ == Stage::kRounds && !BeginRound()) stage_ = Stage::kDone;
}

absl::StatusOr<bool> KeyspaceCopy::Piece() {
  switch (stage_) {
    case Stage::kLoading:
      return LoadPiece();
    case Stage::kMeasuring:
      return MeasurePiece();
    case Stage::kCopying:
      return CopyPiece();
    case Stage::kRounds:
      return RoundPiece();
    case Stage::kDone:
      return false;
  }
  return false;
}

absl::Status KeyspaceCopy::NoMemoryFor(const Keyspace& keyspace) {
  return CodedError("E_NOMEM", absl::StatusCode::kResourceExhausted,
                    absl::StrCat("there is no memory to load ", keyspace.pending_keys(),
                                 " keys of the upgrade before, which would be lost: delete keys, "
                                 "or free memory, and upgrade again"));
}

absl::StatusOr<bool> KeyspaceCopy::LoadPiece() {
  Database* database = engine_.keyspace().AnyWithPending();
  if (database == nullptr) return false;
  try {
    database->pending()->LoadSome(*database);
  } catch (const std::bad_alloc&) {
    return NoMemoryFor(engine_.keyspace());
  }
  return true;
}

bool KeyspaceCopy::MeasurePiece() {
  if (threshold_ == kOnlyLoad) return false;
  if (measured_ >= threshold_ || database_ == Keyspace::kDatabases) return false;
  Database& database = engine_.keyspace().database(database_);
  cursor_ = database.Scan(cursor_, [&](const Entry* entry) { measured_ += SizeOf(*entry); });
  if (cursor_ == 0) ++database_;
  return true;
}

// SWAPDB may put a database that was not copied behind those that were: so all of them are looked
// at until none has any more.
absl::StatusOr<bool> KeyspaceCopy::CopyPiece() {
  for (int i = 0; i < Keyspace::kDatabases; ++i) {
    DatabaseCopy& copy = *CopyOf(i);
    LIVEEXEC_ASSIGN_OR_RETURN(bool more, copy.writer().Step());
    if (more) return true;
    LIVEEXEC_ASSIGN_OR_RETURN(more, copy.CopySome(engine_.keyspace().database(i)));
    if (more) return true;
    copy.writer().EndRound();
    LIVEEXEC_ASSIGN_OR_RETURN(more, copy.writer().Step());
    if (more) return true;
  }
  return false;
}

bool KeyspaceCopy::BeginRound() {
  size_t changed = 0;
  for (int i = 0; i < Keyspace::kDatabases; ++i) changed += CopyOf(i)->changed();
  const bool shrinks = rounds_ == 0 || changed < last_changed_ - last_changed_ / 4;
  if (changed <= kFewChanges || !shrinks || rounds_ == kMostRounds) return false;
  ++rounds_;
  last_changed_ = changed;
  for (int i = 0; i < Keyspace::kDatabases; ++i) CopyOf(i)->BeginRound();
  return true;
}

absl::StatusOr<bool> KeyspaceCopy::RoundPiece() {
  for (int i = 0; i < Keyspace::kDatabases; ++i) {
    DatabaseCopy& copy = *CopyOf(i);
    LIVEEXEC_ASSIGN_OR_RETURN(bool more, copy.writer().Step());
    if (more) return true;
    LIVEEXEC_ASSIGN_OR_RETURN(more, copy.CopyChanged(engine_.keyspace().database(i)));
    if (more) return true;
    copy.writer().EndRound();
    LIVEEXEC_ASSIGN_OR_RETURN(more, copy.writer().Step());
    if (more) return true;
  }
  return BeginRound();
}

absl::Status KeyspaceCopy::Finish() {
  for (int i = 0; i < Keyspace::kDatabases; ++i) {
    DatabaseCopy& copy = *CopyOf(i);
    Database& database = engine_.keyspace().database(i);
    LIVEEXEC_RETURN_IF_ERROR(copy.CopyRest(database));
    const size_t copied = copy.writer().records().size();
    if (copied == database.size()) continue;
    return absl::InternalError(absl::StrCat("database ", i, " has ", database.size(),
                                            " keys and its copy ", copied,
                                            ": a change of it was missed"));
  }
  return absl::OkStatus();
}

int KeyspaceCopy::escrow_fd(int database) const {
  const DatabaseCopy* copy = CopyOf(database);
  if (copy == nullptr || copy->writer().records().size() == 0) return -1;
  return copy->writer().records().escrow_fd();
}

bool KeyspaceCopy::Save(int database, capnp::AnyPointer::Builder image) const {
  if (escrow_fd(database) < 0) return false;
  CopyOf(database)->writer().records().Save(image.initAs<image::BulkSet>());
  return true;
}

absl::Status KeyspaceCopy::Load(int, capnp::AnyPointer::Reader) {
  return absl::InternalError("a copy that is being written cannot be read");
}

}  // namespace liveexec::demo
