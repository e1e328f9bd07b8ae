#include "demo-server/pending_keys.h"

#include <limits>
#include <utility>

#include "core/error.h"

namespace liveexec::demo {
namespace {

// A record's kind is its value's type.
constexpr uint64_t kKnownKinds = (uint64_t{1} << (static_cast<int>(Type::kHash) + 1)) - 1;

}  // namespace

absl::StatusOr<std::unique_ptr<PendingKeys>> PendingKeys::Open(Engine& engine,
                                                               const StateFormat& format,
                                                               UniqueFd escrow,
                                                               image::BulkSet::Reader image) {
  LIVEEXEC_ASSIGN_OR_RETURN(BulkRecords records, BulkRecords::Open(std::move(escrow), image));
  if ((records.kinds() & ~kKnownKinds) != 0) {
    return absl::DataLossError("there are keys with values of a type that is not known");
  }
  return std::unique_ptr<PendingKeys>(new PendingKeys(engine, format, std::move(records)));
}

std::optional<BulkRecords::Position> PendingKeys::Find(std::string_view key, uint64_t hash) const {
  return records_.Find(
      hash, [&](capnp::AnyPointer::Reader root) { return format_.PeekKey(root).name == key; });
}

bool PendingKeys::Contains(std::string_view key, uint64_t hash) const {
  return Find(key, hash).has_value();
}

Entry* PendingKeys::LoadAt(Database& database, BulkRecords::Position position) {
  Entry* entry = nullptr;
  const absl::Status status =
      records_.Read(position, [&](capnp::AnyPointer::Reader root) -> absl::Status {
        LIVEEXEC_RETURN_IF_ERROR(format_.LoadKey(root, database, engine_));
        entry = database.FindLoaded(format_.PeekKey(root).name);
        return absl::OkStatus();
      });
  records_.Drop(position);
  if (!status.ok()) ++engine_.statistics().lost_keys;
  return entry;
}

bool PendingKeys::Load(Database& database, std::string_view key, uint64_t hash) {
  const auto position = Find(key, hash);
  return position.has_value() && LoadAt(database, *position) != nullptr;
}

void PendingKeys::LoadRange(Database& database, uint64_t first, uint64_t last) {
  records_.ForRange(first, last, [&](BulkRecords::Position position) {
    LoadAt(database, position);
    return true;
  });
}

void PendingKeys::LoadSome(Database& database) {
  records_.ForRange(0, std::numeric_limits<uint64_t>::max(), [&](BulkRecords::Position position) {
    LoadAt(database, position);
    return false;
  });
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
