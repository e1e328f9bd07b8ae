// StateFormat: how one version of demo-server writes its state, and reads that of any version.
//
// There are three versions of the schema (v0.capnp, v1.capnp, v2.capnp) and one code for them: what
// a version does not know is left out (state_format_impl.h). A program links the one that is its
// own.
#ifndef LIVEEXEC_DEMO_SERVER_STATE_STATE_FORMAT_H_
#define LIVEEXEC_DEMO_SERVER_STATE_STATE_FORMAT_H_

#include <capnp/any.h>

#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "demo-server/data/layout.h"
#include "demo-server/engine/engine.h"
#include "demo-server/engine/session.h"

namespace liveexec::demo {

// Databases whose keys are not in the key space's image but in records of their own, which were
// written ahead of it.
class KeysAhead {
 public:
  virtual ~KeysAhead() = default;
  // Writes what the image is to say of a database's records; false: its keys go into the image.
  virtual bool Save(int database, capnp::AnyPointer::Builder image) const = 0;
  // The reverse, in a program that reads the image. The database is empty.
  virtual absl::Status Load(int database, capnp::AnyPointer::Reader image) = 0;
};

class StateFormat {
 public:
  virtual ~StateFormat() = default;

  virtual std::string_view version() const = 0;  // "v1"
  // Whether accesses to keys are carried, so that OBJECT FREQ has a meaning.
  virtual bool has_access_statistics() const = 0;

  // The fingerprint of the data in resident memory that the version goes on with.
  virtual uint64_t data_layout() const { return DataLayout(kDataLayoutVersion); }

  // The engine's lock is held (or nobody else runs) in all of these. Readers check what they read,
  // and return DataLoss for what cannot be: nothing is assumed of the program that wrote it.
  // `stop` is asked between keys: once it is true the rest is left out.
  using Stop = absl::FunctionRef<bool()>;
  // `ahead` may be null: then there are no such databases.
  virtual void WriteKeyspace(const Engine& engine, Stop stop, const KeysAhead* ahead,
                             capnp::AnyPointer::Builder root) const = 0;
  virtual absl::Status ReadKeyspace(capnp::AnyPointer::Reader root, Engine& engine,
                                    KeysAhead* ahead) const = 0;
  void WriteKeyspace(const Engine& engine, Stop stop, capnp::AnyPointer::Builder root) const {
    WriteKeyspace(engine, stop, nullptr, root);
  }
  absl::Status ReadKeyspace(capnp::AnyPointer::Reader root, Engine& engine) const {
    return ReadKeyspace(root, engine, nullptr);
  }

  // One key by itself. LoadKey puts it into `database`, whose table must not have it.
  virtual void WriteKey(const Entry& entry, capnp::AnyPointer::Builder root) const = 0;
  virtual absl::Status LoadKey(capnp::AnyPointer::Reader root, Database& database,
                               const Engine& engine) const = 0;
  struct KeyHead {
    std::string_view name;  // lives as long as the message
    int64_t expires_at = kNoExpiry;
  };
  virtual KeyHead PeekKey(capnp::AnyPointer::Reader root) const = 0;
  // What LoadKey takes of the storage (ResidentHeap::CapacityOf), the database's tables not
  // counted: key_size.h.
  virtual uint64_t SizeOfKey(capnp::AnyPointer::Reader root) const = 0;

  virtual void WriteSession(const Session& session, capnp::AnyPointer::Builder root) const = 0;
  // Fills `session`, id included, but does not make it known to the engine: Engine::Adopt does.
  virtual absl::Status ReadSession(capnp::AnyPointer::Reader root, const Engine& engine,
                                   Session& session) const = 0;
};

const StateFormat& StateFormatV0();
const StateFormat& StateFormatV1();
const StateFormat& StateFormatV2();

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_STATE_STATE_FORMAT_H_
