#include "tests/compat/schema_changes.h"

#include <capnp/any.h>
#include <capnp/schema.capnp.h>
#include <capnp/serialize.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "handoff/guarded_call.h"
#include "tests/compat/schema_types.h"

namespace liveexec::compat {

namespace {

using Gravity = SchemaChange::Gravity;

constexpr char kPutItBack[] =
    "an earlier release needs it, and its number must not be used again: put it back, under a name "
    "like obsolete... if nobody is to use it";

class Comparison {
 public:
  Comparison(const SchemaSet& released, const SchemaSet& today)
      : released_(released), today_(today) {}

  std::vector<SchemaChange> Run() {
    for (const auto& [id, node] : released_.nodes()) {
      if (IsType(node) && today_.Find(id) != nullptr) Pair(id, id);
    }
    for (const auto& [id, node] : released_.nodes()) {
      if (!IsType(node) || seen_.count(id) > 0) continue;
      Add(Gravity::kRefused, released_.Name(id), "", "is gone",
          absl::StrCat("put it back; if it only has another name today, give that one its old id: ",
                       "@0x", absl::Hex(id)));
    }
    return std::move(changes_);
  }

 private:
  // Groups are looked at with the struct that has them.
  static bool IsType(const Node::Reader& node) {
    return node.isEnum() || (node.isStruct() && !node.getStruct().getIsGroup());
  }

  void Add(Gravity gravity, const std::string& type, const std::string& member, std::string what,
           std::string advice) {
    changes_.push_back({gravity, type, member, std::move(what), std::move(advice)});
  }

  void Pair(uint64_t old_id, uint64_t new_id) {
    seen_.insert(old_id);
    if (!pairs_.insert({old_id, new_id}).second) return;
    const Node::Reader* before = released_.Find(old_id);
    const Node::Reader* after = today_.Find(new_id);
    if (before == nullptr || after == nullptr) return;
    if (before->which() != after->which()) {
      return Add(Gravity::kRefused, released_.Name(old_id), "", "is another kind of type today",
                 "make it what it was, and add a new type under another name");
    }
    if (before->isEnum()) CompareEnums(old_id, *before, *after);
    if (before->isStruct()) CompareStructs(old_id, new_id);
  }

  void CompareEnums(uint64_t id, const Node::Reader& before, const Node::Reader& after) {
    const auto old_members = before.getEnum().getEnumerants();
    const auto new_members = after.getEnum().getEnumerants();
    const std::string type = released_.Name(id);
    const auto member = [](const auto& list, uint index) {
      return absl::StrCat("enumerant ", list[index].getName().cStr(), " @", index);
    };
    for (uint i = 0; i < old_members.size(); ++i) {
      const std::string name = old_members[i].getName().cStr();
      if (i >= new_members.size()) {
        Add(Gravity::kRefused, type, member(old_members, i), "was removed", kPutItBack);
        continue;
      }
      for (uint j = 0; j < new_members.size(); ++j) {
        if (j == i || new_members[j].getName() != name.c_str()) continue;
        Add(Gravity::kRefused, type, member(old_members, i), absl::StrCat("has number ", j),
            "numbers are what is written: give it its old one");
      }
    }
    for (uint i = old_members.size(); i < new_members.size(); ++i) {
      Add(Gravity::kCaution, type, member(new_members, i), "is new",
          "an earlier release meets it as a number that it does not know: see that it does not "
          "fail, or write it only when no earlier release can come back");
    }
  }

  void CompareStructs(uint64_t old_id, uint64_t new_id) {
    const std::string type = released_.Name(old_id);
    const std::map<uint16_t, Slot> before = released_.Slots(old_id);
    const std::map<uint16_t, Slot> after = today_.Slots(new_id);
    for (const auto& [number, slot] : before) {
      const auto found = after.find(number);
      if (found == after.end()) {
        Add(Gravity::kRefused, type, slot.ToString(), "was removed", kPutItBack);
      } else {
        CompareSlots(type, slot, found->second, after);
      }
    }
    for (const auto& [number, slot] : after) {
      if (before.count(number) > 0 || slot.arms.empty() || !HasUnion(before, slot)) continue;
      Add(Gravity::kCaution, type, slot.ToString(), "is a new member of a union",
          "an earlier release does not know this member: see that it does not fail, or write it "
          "only when no earlier release can come back");
    }
  }

  // Whether the union that `slot` belongs to was there before.
  static bool HasUnion(const std::map<uint16_t, Slot>& before, const Slot& slot) {
    return std::any_of(before.begin(), before.end(), [&](const auto& entry) {
      return !entry.second.arms.empty() &&
             entry.second.arms.front().offset == slot.arms.front().offset;
    });
  }

  void CompareSlots(const std::string& type, const Slot& before, const Slot& after,
                    const std::map<uint16_t, Slot>& all_after) {
    const auto refuse = [&](std::string what, std::string advice) {
      Add(Gravity::kRefused, type, before.ToString(), std::move(what), std::move(advice));
    };
    for (const auto& [number, slot] : all_after) {
      if (number == before.number || slot.name != before.name) continue;
      return refuse(absl::StrCat("has number @", number),
                    "numbers are what is written: give it its old one");
    }
    if (const std::string problem = CompareTypes(before.type, after.type); !problem.empty()) {
      return refuse(problem, "leave its type alone, and add a new field for the new one");
    }
    if (before.arms != after.arms && !IsFirstOfNewUnion(before, after)) {
      return refuse(before.arms.empty() ? "was moved into a union"
                                        : "has another place among the members of its union",
                    "an earlier release looks for it where it was: move it back");
    }
    if (before.offset != after.offset)
      return refuse("was moved: fields before it have another size or number",
                    "undo what moved it; new fields have the highest numbers");
    // Other types that mean the same bytes have no defaults that could be compared.
    if (before.type.which() == after.type.which() &&
        capnp::AnyStruct::Reader(before.value) != capnp::AnyStruct::Reader(after.value))
      refuse("has another default",
             "what was written with the old default does not hold it, and is read as the new one: "
             "keep the default");
  }

  // What was outside may become the first member of a new union: then its tag is 0, as if unset.
  static bool IsFirstOfNewUnion(const Slot& before, const Slot& after) {
    return before.arms.empty() && after.arms.size() == 1 && after.arms[0].value == 0;
  }

  // What is wrong, or nothing. What the types refer to is compared as well.
  std::string CompareTypes(const Type::Reader& before, const Type::Reader& after) {
    if (before.isStruct() && after.isStruct()) {
      Pair(before.getStruct().getTypeId(), after.getStruct().getTypeId());
      return "";
    }
    if (before.isEnum() && after.isEnum()) {
      Pair(before.getEnum().getTypeId(), after.getEnum().getTypeId());
      return "";
    }
    if (before.isList() && after.isList()) {
      return CompareTypes(before.getList().getElementType(), after.getList().getElementType())
                     .empty()
                 ? ""
                 : Became(before, after);
    }
    if (before.which() == after.which() || SameOnTheWire(before, after)) return "";
    return Became(before, after);
  }

  std::string Became(const Type::Reader& before, const Type::Reader& after) const {
    return absl::StrCat("was ", released_.TypeName(before), " and is ", today_.TypeName(after));
  }

  const SchemaSet& released_;
  const SchemaSet& today_;
  std::set<uint64_t> seen_;  // of the released types
  std::set<std::pair<uint64_t, uint64_t>> pairs_;
  std::vector<SchemaChange> changes_;
};

}  // namespace

std::string SchemaChange::ToString() const {
  return absl::StrCat(gravity == Gravity::kRefused ? "refused: " : "caution: ", type,
                      member.empty() ? "" : ", ", member, ": ", what, "; ", advice);
}

absl::StatusOr<std::vector<SchemaChange>> CompareSchemas(std::string_view released,
                                                         std::string_view today) {
  std::vector<SchemaChange> changes;
  const absl::Status status = GuardedCall("schemas", [&]() -> absl::Status {
    const SchemaSet before(released);
    const SchemaSet after(today);
    if (before.nodes().empty() || after.nodes().empty())
      return absl::InvalidArgumentError("no schemas in it: expected what capnp compile -o- writes");
    changes = Comparison(before, after).Run();
    return absl::OkStatus();
  });
  if (!status.ok()) return absl::InvalidArgumentError(status.message());
  return changes;
}

bool Refused(const std::vector<SchemaChange>& changes) {
  return std::any_of(changes.begin(), changes.end(), [](const SchemaChange& change) {
    return change.gravity == Gravity::kRefused;
  });
}

}  // namespace liveexec::compat
