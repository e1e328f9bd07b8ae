// What Cap'n Proto schemas say of the bytes that are written: for CompareSchemas.
#ifndef LIVEEXEC_TESTS_COMPAT_SCHEMA_TYPES_H_
#define LIVEEXEC_TESTS_COMPAT_SCHEMA_TYPES_H_

#include <capnp/schema.capnp.h>
#include <capnp/serialize.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace liveexec::compat {

using capnp::schema::Node;
using capnp::schema::Type;

// A union's tag, and the value that it has for one of its members.
struct UnionArm {
  uint32_t offset = 0;
  uint16_t value = 0;
  bool operator==(const UnionArm&) const = default;
};

// A field that is written somewhere: one of the struct's own, or of a group or union in it.
struct Slot {
  uint16_t number = 0;
  std::string name;  // "value.list"
  Type::Reader type;
  uint32_t offset = 0;  // in units of the type's size
  capnp::schema::Value::Reader value;
  std::vector<UnionArm> arms;  // from outside to inside

  std::string ToString() const;  // "field value.list @4"
};

// The nodes of one CodeGeneratorRequest. Throws kj::Exception for what is malformed.
class SchemaSet {
 public:
  // `request` is copied.
  explicit SchemaSet(std::string_view request);

  const std::map<uint64_t, Node::Reader>& nodes() const { return nodes_; }
  const Node::Reader* Find(uint64_t id) const;
  std::string Name(uint64_t id) const;  // "state.capnp:Database.Key"
  std::string TypeName(const Type::Reader& type) const;
  // Of a struct, by number.
  std::map<uint16_t, Slot> Slots(uint64_t id) const;

 private:
  void AddSlots(const Node::Reader& node, const std::string& prefix,
                const std::vector<UnionArm>& arms, std::map<uint16_t, Slot>& slots) const;

  std::vector<capnp::word> words_;
  std::unique_ptr<capnp::FlatArrayMessageReader> message_;
  std::map<uint64_t, Node::Reader> nodes_;
};

// Types of different names whose bytes mean the same.
bool SameOnTheWire(const Type::Reader& before, const Type::Reader& after);

}  // namespace liveexec::compat

#endif  // LIVEEXEC_TESTS_COMPAT_SCHEMA_TYPES_H_
