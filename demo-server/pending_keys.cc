#include "demo-server/pending_keys.h"

#include <algorithm>
#include <limits>
#include <new>
#include <utility>

#include "core/error.h"

namespace liveexec::demo {
namespace {

// A record's kind is its value's type.
constexpr uint64_t kKnownKinds = (uint64_t{1} << (static_cast<int>(Type::kHash) + 1)) - 1;

// While tables grow: an element of a vector that doubles, a bucket of a table that does, and one of
// the table before.
constexpr size_t kTablesOfAKey = 5 * sizeof(void*);

// Of each size of objects there may be a chunk that is not full.
constexpr uint64_t kGaps = 4 << 20;

// When the old program has not said what they weigh: at most so many times what the records take.
constexpr uint64_t kMostGrowth = 4;
// More than any memory has: nothing is added up to an overflow, whatever an image says.
constexpr uint64_t kMostWeight = uint64_t{1} << 56;

}  // namespace

absl::StatusOr<std::unique_ptr<PendingKeys>> PendingKeys::Open(Engine& engine,
                                                               const StateFormat& format,
                                                               UniqueFd escrow,
                                                               image::BulkSet::Reader image) {
  LIVEEXEC_ASSIGN_OR_RETURN(BulkRecords records, BulkRecords::Open(std::move(escrow), image));
  if ((records.kinds() & ~kKnownKinds) != 0) {
    return absl::DataLossError("there are keys with values of a type that is not known");
  }
  const bool weighed = records.weight() != 0;
  records.set_weight(weighed ? std::min(records.weight(), kMostWeight)
                             : records.bytes() * kMostGrowth);
  return std::unique_ptr<PendingKeys>(new PendingKeys(engine, format, std::move(records)));
}

PendingKeys::PendingKeys(Engine& engine, const StateFormat& format, BulkRecords records)
    : engine_(engine), format_(format), records_(std::move(records)) {
  Owe();
}

PendingKeys::~PendingKeys() { storage_owed -= owed_; }

std::optional<BulkRecords::Position> PendingKeys::Find(std::string_view key, uint64_t hash) const {
  return records_.Find(
      hash, [&](capnp::AnyPointer::Reader root) { return format_.PeekKey(root).name == key; });
}

bool PendingKeys::Contains(std::string_view key, uint64_t hash) const {
  return Find(key, hash).has_value();
}

void PendingKeys::ReserveTable(Database& database) {
  try {
    // With a few for new keys, as the next larger table may not fit.
    database.Reserve(records_.size() + records_.size() / 16);
    has_table_ = true;
  } catch (const std::bad_alloc&) {
    return;  // It grows, then, as keys are loaded.
  }
  Owe();
}

void PendingKeys::Owe() {
  size_t owed = 0;
  if (records_.size() > 0) {
    owed = records_.weight() + std::min(records_.weight(), kGaps) +
           (has_table_ ? 0 : kTablesOfAKey * records_.size());
  }
  storage_owed += owed - owed_;
  owed_ = owed;
}

void PendingKeys::Clear() {
  records_ = BulkRecords();
  Owe();
}

void PendingKeys::Forget(BulkRecords::Position position, uint64_t weight) {
  records_.Drop(position);
  records_.set_weight(records_.weight() - std::min(records_.weight(), weight));
  Owe();
}

Entry* PendingKeys::LoadAt(Database& database, BulkRecords::Position position) {
  Entry* entry = nullptr;
  uint64_t weight = 0;
  bool no_memory = false;
  // It may take what is owed to it.
  StorageGuard guard(false);
  const absl::Status status =
      records_.Read(position, [&](capnp::AnyPointer::Reader root) -> absl::Status {
        try {
          weight = format_.SizeOfKey(root);
          LIVEEXEC_RETURN_IF_ERROR(format_.LoadKey(root, database, engine_));
        } catch (const std::bad_alloc&) {
          no_memory = true;
          return absl::OkStatus();
        }
        entry = database.FindLoaded(format_.PeekKey(root).name);
        return absl::OkStatus();
      });
  if (no_memory) throw std::bad_alloc();
  Forget(position, weight);
  if (!status.ok()) ++engine_.statistics().lost_keys;
  return entry;
}

bool PendingKeys::Load(Database& database, std::string_view key, uint64_t hash) {
  const auto position = Find(key, hash);
  return position.has_value() && LoadAt(database, *position) != nullptr;
}

bool PendingKeys::Drop(std::string_view key, uint64_t hash) {
  const auto position = Find(key, hash);
  if (!position.has_value()) return false;
  uint64_t weight = 0;
  (void)records_.Read(*position, [&](capnp::AnyPointer::Reader root) {
    weight = format_.SizeOfKey(root);
    return absl::OkStatus();
  });
  Forget(*position, weight);
  return true;
}

void PendingKeys::LoadRange(Database& database, uint64_t first, uint64_t last) {
  records_.ForRange(first, last, [&](BulkRecords::Position position) {
    LoadAt(database, position);
    return true;
  });
}

void PendingKeys::LoadSome(Database& database) {
  bool any = false;
  const auto load = [&](BulkRecords::Position position) {
    any = true;
    // One that there is no memory for does not keep the others from being loaded.
    const uint64_t hash = records_.HashOf(position);
    try {
      LoadAt(database, position);
    } catch (const std::bad_alloc&) {
      next_hash_ = hash + 1;
      throw;
    }
    return false;
  };
  constexpr uint64_t kLast = std::numeric_limits<uint64_t>::max();
  records_.ForRange(next_hash_, kLast, load);
  if (any || next_hash_ == 0) return;
  next_hash_ = 0;
  records_.ForRange(0, kLast, load);
}

void PendingKeys::ForEachKey(Visit visit) const {
  records_.ForEach([&](BulkRecords::Position position) {
    // One that cannot be read is lost when it is loaded, and counted there.
    (void)records_.Read(position, [&](capnp::AnyPointer::Reader root) {
      const StateFormat::KeyHead head = format_.PeekKey(root);
      visit(head.name, head.expires_at);
      return absl::OkStatus();
    });
  });
}

Entry* PendingKeys::LoadRandom(Database& database, absl::FunctionRef<uint64_t()> random) {
  while (records_.size() > 0) {
    if (Entry* entry = LoadAt(database, records_.Pick(random)); entry != nullptr) return entry;
  }
  return nullptr;
}

}  // namespace liveexec::demo
