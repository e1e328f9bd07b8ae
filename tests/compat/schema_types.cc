#include "tests/compat/schema_types.h"

#include <cstring>

#include "absl/strings/str_cat.h"

namespace liveexec::compat {

namespace {

bool IsBytes(const Type::Reader& type) {
  return type.isData() || (type.isList() && type.getList().getElementType().isUint8());
}

bool IsPointer(const Type::Reader& type) {
  return type.isText() || type.isData() || type.isList() || type.isStruct() || type.isAnyPointer();
}

const char* PrimitiveName(const Type::Reader& type) {
  switch (type.which()) {
    case Type::VOID:
      return "Void";
    case Type::BOOL:
      return "Bool";
    case Type::INT8:
      return "Int8";
    case Type::INT16:
      return "Int16";
    case Type::INT32:
      return "Int32";
    case Type::INT64:
      return "Int64";
    case Type::UINT8:
      return "UInt8";
    case Type::UINT16:
      return "UInt16";
    case Type::UINT32:
      return "UInt32";
    case Type::UINT64:
      return "UInt64";
    case Type::FLOAT32:
      return "Float32";
    case Type::FLOAT64:
      return "Float64";
    case Type::TEXT:
      return "Text";
    case Type::DATA:
      return "Data";
    default:
      return "AnyPointer";
  }
}

}  // namespace

std::string Slot::ToString() const { return absl::StrCat("field ", name, " @", number); }

SchemaSet::SchemaSet(std::string_view request) : words_(request.size() / sizeof(capnp::word)) {
  if (words_.empty()) return;
  std::memcpy(words_.data(), request.data(), words_.size() * sizeof(capnp::word));
  message_ = std::make_unique<capnp::FlatArrayMessageReader>(
      kj::ArrayPtr<const capnp::word>(words_.data(), words_.size()));
  const auto root = message_->getRoot<capnp::schema::CodeGeneratorRequest>();
  for (const Node::Reader node : root.getNodes()) nodes_.emplace(node.getId(), node);
}

const Node::Reader* SchemaSet::Find(uint64_t id) const {
  const auto found = nodes_.find(id);
  return found == nodes_.end() ? nullptr : &found->second;
}

std::string SchemaSet::Name(uint64_t id) const {
  const Node::Reader* node = Find(id);
  return node == nullptr ? absl::StrCat("@0x", absl::Hex(id)) : node->getDisplayName().cStr();
}

std::string SchemaSet::TypeName(const Type::Reader& type) const {
  const auto short_name = [this](uint64_t id) {
    const std::string name = Name(id);
    return name.substr(name.rfind(':') + 1);
  };
  if (type.isStruct()) return short_name(type.getStruct().getTypeId());
  if (type.isEnum()) return short_name(type.getEnum().getTypeId());
  if (type.isList()) return absl::StrCat("List(", TypeName(type.getList().getElementType()), ")");
  return PrimitiveName(type);
}

void SchemaSet::AddSlots(const Node::Reader& node, const std::string& prefix,
                         const std::vector<UnionArm>& arms, std::map<uint16_t, Slot>& slots) const {
  const auto structure = node.getStruct();
  for (const auto field : structure.getFields()) {
    std::vector<UnionArm> field_arms = arms;
    if (field.getDiscriminantValue() != capnp::schema::Field::NO_DISCRIMINANT)
      field_arms.push_back({structure.getDiscriminantOffset(), field.getDiscriminantValue()});
    const std::string name = absl::StrCat(prefix, field.getName().cStr());
    if (field.isGroup()) {
      const Node::Reader* group = Find(field.getGroup().getTypeId());
      if (group != nullptr && group->isStruct()) AddSlots(*group, name + ".", field_arms, slots);
      continue;
    }
    const auto slot = field.getSlot();
    const uint16_t number = field.getOrdinal().isExplicit() ? field.getOrdinal().getExplicit() : 0;
    slots[number] = {.number = number,
                     .name = name,
                     .type = slot.getType(),
                     .offset = slot.getOffset(),
                     .value = slot.getDefaultValue(),
                     .arms = field_arms};
  }
}

std::map<uint16_t, Slot> SchemaSet::Slots(uint64_t id) const {
  std::map<uint16_t, Slot> slots;
  if (const Node::Reader* node = Find(id); node != nullptr && node->isStruct())
    AddSlots(*node, "", {}, slots);
  return slots;
}

bool SameOnTheWire(const Type::Reader& before, const Type::Reader& after) {
  if (IsBytes(before) && IsBytes(after)) return true;
  if ((before.isEnum() && after.isUint16()) || (before.isUint16() && after.isEnum())) return true;
  // What is only passed on.
  return (before.isAnyPointer() && IsPointer(after)) || (IsPointer(before) && after.isAnyPointer());
}

}  // namespace liveexec::compat
