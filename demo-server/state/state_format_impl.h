// StateFormatOf<Schema>: StateFormat for one version of the schema. Included by state_format_v*.cc
// alone.
//
// Fields that not every version has are written and read under `if constexpr (requires ...)`.
#ifndef LIVEEXEC_DEMO_SERVER_STATE_STATE_FORMAT_IMPL_H_
#define LIVEEXEC_DEMO_SERVER_STATE_STATE_FORMAT_IMPL_H_

#include <algorithm>

#include "demo-server/state/bytes.h"
#include "demo-server/state/key_size.h"
#include "demo-server/state/keyspace_image.h"
#include "demo-server/state/session_image.h"
#include "demo-server/state/state_format.h"

namespace liveexec::demo {

template <typename Schema>
class StateFormatOf final : public StateFormat {
 public:
  std::string_view version() const override { return Schema::kVersion; }
  bool has_access_statistics() const override {
    return KeyspaceImageOf<Schema>::kHasAccessStatistics;
  }
  uint64_t data_layout() const override { return DataLayout(Schema::kDataLayoutVersion); }
  using StateFormat::ReadKeyspace;
  using StateFormat::WriteKeyspace;
  void WriteKeyspace(const Engine& engine, Stop stop, const KeysAhead* ahead,
                     capnp::AnyPointer::Builder root) const override {
    KeyspaceImageOf<Schema>::Write(engine, stop, ahead,
                                   root.initAs<typename Schema::KeyspaceImage>());
  }
  absl::Status ReadKeyspace(capnp::AnyPointer::Reader root, Engine& engine,
                            KeysAhead* ahead) const override {
    return KeyspaceImageOf<Schema>::Read(root.getAs<typename Schema::KeyspaceImage>(), engine,
                                         ahead);
  }
  void WriteKey(const Entry& entry, capnp::AnyPointer::Builder root) const override {
    KeyspaceImageOf<Schema>::WriteKey(entry, root.initAs<typename Schema::Key>());
  }
  absl::Status LoadKey(capnp::AnyPointer::Reader root, Database& database,
                       const Engine& engine) const override {
    return KeyspaceImageOf<Schema>::ReadKey(root.getAs<typename Schema::Key>(), database, engine);
  }
  KeyHead PeekKey(capnp::AnyPointer::Reader root) const override {
    const auto key = root.getAs<typename Schema::Key>();
    return {FromData(key.getName()), std::max(key.getExpiresAtMs(), kNoExpiry)};
  }
  uint64_t SizeOfKey(capnp::AnyPointer::Reader root) const override {
    return KeySizeOf(root.getAs<typename Schema::Key>());
  }
  void WriteSession(const Session& session, capnp::AnyPointer::Builder root) const override {
    SessionImageOf<Schema>::Write(session, root.initAs<typename Schema::SessionImage>());
  }
  absl::Status ReadSession(capnp::AnyPointer::Reader root, const Engine& engine,
                           Session& session) const override {
    return SessionImageOf<Schema>::Read(root.getAs<typename Schema::SessionImage>(), engine,
                                        session);
  }
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_STATE_STATE_FORMAT_IMPL_H_
