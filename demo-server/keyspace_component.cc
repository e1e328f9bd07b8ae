#include "demo-server/keyspace_component.h"

#include <algorithm>
#include <limits>
#include <mutex>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/bulk.capnp.h"
#include "handoff/phase.h"

namespace liveexec::demo {
namespace {

// What the escrow of a database's records is carried as.
constexpr std::string_view kRole = "keys";
// What a rehearsal is shown of keys that it will not read, as they cross in memory.
constexpr size_t kSampleKeys = 32;
constexpr int64_t kSampleNs = 250000;

// Whether no database refers to anything that is this program's own.
bool AtRest(Engine& engine) {
  for (int i = 0; i < Keyspace::kDatabases; ++i) {
    const Database& database = engine.keyspace().database(i);
    if (database.pending() != nullptr || database.watch() != nullptr) return false;
  }
  return true;
}

}  // namespace

// Attaches what it reads to the databases.
class KeyspaceComponent::Loader final : public KeysAhead {
 public:
  Loader(KeyspaceComponent& component, ImportContext& context)
      : component_(component), context_(context) {}

  bool Save(int, capnp::AnyPointer::Builder) const override { return false; }

  absl::Status Load(int database, capnp::AnyPointer::Reader image) override {
    const auto index = static_cast<size_t>(database);
    LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd escrow, context_.TakeFd(kRole, index));
    auto pending = PendingKeys::Open(component_.engine_, component_.format_, std::move(escrow),
                                     image.getAs<image::BulkSet>());
    if (!pending.ok()) return Annotate(pending.status(), absl::StrCat("database ", database));
    component_.engine_.keyspace().database(database).set_pending(pending->get());
    component_.pending_[index] = *std::move(pending);
    return absl::OkStatus();
  }

 private:
  KeyspaceComponent& component_;
  ImportContext& context_;
};

KeyspaceComponent::~KeyspaceComponent() {
  std::lock_guard lock(engine_.mutex());
  copy_.reset();
  for (int i = 0; i < Keyspace::kDatabases; ++i) {
    Database& database = engine_.keyspace().database(i);
    // Resident memory may be read-only.
    if (database.pending() != nullptr) database.set_pending(nullptr);
  }
  storage_heap = nullptr;
}

// ---- Old program.

void KeyspaceComponent::Precopy(const Successor& successor,
                                absl::AnyInvocable<void(absl::Status) &&> done) {
  std::lock_guard lock(engine_.mutex());
  // Resident memory needs no copy, but what is still pending does not cross with it.
  const size_t threshold =
      memory_.CrossesTo(successor) ? KeyspaceCopy::kOnlyLoad : KeyspaceCopy::kThreshold;
  copy_ = std::make_unique<KeyspaceCopy>(engine_, format_, threshold);
  // std::function wants what it holds to be copyable.
  auto shared = std::make_shared<decltype(done)>(std::move(done));
  slices_.Start([this, shared](int64_t end_ns) {
    absl::StatusOr<bool> more = true;
    {
      std::lock_guard work_lock(engine_.mutex());
      more = copy_->Step(end_ns);
      ForgetLoaded();
    }
    if (more.ok() && *more) return true;
    std::move (*shared)(more.status());
    return false;
  });
}

void KeyspaceComponent::AbandonPrecopy() {
  slices_.Stop();
  std::lock_guard lock(engine_.mutex());
  copy_.reset();
  StartLoading();
}

// From here on the data are in resident memory: a key space without any is its root.
void KeyspaceComponent::BeginInMemory() {
  storage_heap = &memory_.heap();
  Keyspace* keyspace = MakeStored<Keyspace>(engine_.keyspace().seed()).release();
  storage_heap->set_root(keyspace);
  engine_.UseKeyspace(keyspace);
}

absl::Status KeyspaceComponent::Initialize() {
  std::lock_guard lock(engine_.mutex());
  if (memory_.has_heap()) BeginInMemory();
  return absl::OkStatus();
}

absl::Status KeyspaceComponent::Export(ExportContext& context) const {
  std::lock_guard lock(engine_.mutex());
  const bool in_memory = memory_.Crosses(context);
  if (in_memory && !AtRest(engine_)) {
    return absl::FailedPreconditionError(
        "keys of the upgrade before have not been loaded yet: upgrade again");
  }
  const bool ahead = copy_ != nullptr && copy_->has_copy() && !context.snapshot();
  if (ahead) {
    LIVEEXEC_RETURN_IF_ERROR(copy_->Finish());
    for (int i = 0; i < Keyspace::kDatabases; ++i) {
      const int escrow = copy_->escrow_fd(i);
      if (escrow < 0) continue;
      LIVEEXEC_RETURN_IF_ERROR(context.CarryFd(kRole, static_cast<uint64_t>(i), escrow));
    }
  } else if (!in_memory && !context.snapshot()) {
    LIVEEXEC_RETURN_IF_ERROR(LoadAll());
  }
  // What crosses in memory is not read from an image: a few keys show that it could be.
  const bool few = context.snapshot() && memory_.CrossesTo(context.successor());
  const int64_t end_ns = MonotonicNs() + kSampleNs;
  size_t asked = 0;
  const auto stop = [&] {
    if (few && (++asked > kSampleKeys || MonotonicNs() > end_ns)) context.LeaveOutTheRest();
    return in_memory || context.sampled() || context.SliceIsSpent();
  };
  format_.WriteKeyspace(engine_, stop, ahead ? copy_.get() : nullptr,
                        context.InitRoot<capnp::AnyPointer>());
  // Of an upgrade before: a rehearsal does without what has not been loaded yet.
  if (context.snapshot() && engine_.keyspace().pending_keys() > 0) context.LeaveOutTheRest();
  return absl::OkStatus();
}

// ---- New program.

absl::Status KeyspaceComponent::Rehydrate(ImportContext& context) {
  LIVEEXEC_ASSIGN_OR_RETURN(auto root, context.Root<capnp::AnyPointer>());
  std::lock_guard lock(engine_.mutex());
  if (memory_.arrived()) {
    storage_heap = &memory_.heap();
    auto* keyspace = static_cast<Keyspace*>(storage_heap->root());
    if (keyspace == nullptr) return absl::DataLossError("resident memory has no key space");
    engine_.UseKeyspace(keyspace);
  } else if (memory_.has_heap()) {
    BeginInMemory();
  }
  Loader loader(*this, context);
  return format_.ReadKeyspace(root, engine_, &loader);
}

void KeyspaceComponent::Activate() {
  std::lock_guard lock(engine_.mutex());
  ReserveTables();
  StartLoading();
}

// Where memory is ample, tables grow as keys come: nobody waits for a large one to be made.
void KeyspaceComponent::ReserveTables() {
  if (storage_heap == nullptr || StorageHasRoomFor(storage_owed)) return;
  for (int i = 0; i < Keyspace::kDatabases; ++i) {
    const auto& pending = pending_[static_cast<size_t>(i)];
    if (pending != nullptr) pending->ReserveTable(engine_.keyspace().database(i));
  }
}

void KeyspaceComponent::StartLoading() {
  if (engine_.keyspace().pending_keys() == 0) return ForgetLoaded();
  retry_ms_ = 0;
  slices_.Start([this](int64_t end_ns) { return LoadSome(end_ns); });
}

bool KeyspaceComponent::LoadSome(int64_t end_ns) {
  constexpr uint64_t kFirstRetryMs = 100;
  constexpr uint64_t kLastRetryMs = 5000;
  std::lock_guard lock(engine_.mutex());
  try {
    while (Database* database = engine_.keyspace().AnyWithPending()) {
      database->pending()->LoadSome(*database);
      retry_ms_ = 0;
      if (MonotonicNs() >= end_ns) return true;
    }
  } catch (const std::bad_alloc&) {
    retry_ms_ = std::clamp(2 * retry_ms_, kFirstRetryMs, kLastRetryMs);
    slices_.Start([this](int64_t next_end_ns) { return LoadSome(next_end_ns); }, retry_ms_);
    return false;
  }
  ForgetLoaded();
  return false;
}

absl::Status KeyspaceComponent::LoadAll() const {
  try {
    for (int i = 0; i < Keyspace::kDatabases; ++i) {
      Database& database = engine_.keyspace().database(i);
      if (database.pending() == nullptr) continue;
      database.pending()->LoadRange(database, 0, std::numeric_limits<uint64_t>::max());
    }
  } catch (const std::bad_alloc&) {
    return KeyspaceCopy::NoMemoryFor(engine_.keyspace());
  }
  return absl::OkStatus();
}

void KeyspaceComponent::ForgetLoaded() {
  for (int i = 0; i < Keyspace::kDatabases; ++i) {
    Database& database = engine_.keyspace().database(i);
    if (database.pending() == nullptr || database.pending()->size() > 0) continue;
    for (auto& pending : pending_) {
      if (pending.get() == database.pending()) pending.reset();
    }
    database.set_pending(nullptr);
  }
}

}  // namespace liveexec::demo
