// CompareSchemas: what has changed between the Cap'n Proto schemas of a release and today's, and
// whether programs of the two still read each other's images.
//
//   capnp compile -o- state.capnp > today.schemas             # a CodeGeneratorRequest
//
//   for (const SchemaChange& change : *CompareSchemas(released_bytes, today_bytes))
//     std::puts(change.ToString().c_str());
//
// Refused is what an earlier release could not read, or would read as something else: a field, an
// enumerant or a struct that was removed, retyped, renumbered, moved into or out of a union, or
// given another default. Accepted, and not listed: new fields, new structs, new names for old
// fields. A new member of a union or an enum is listed as a caution: the bytes are readable, but
// only the program knows what it does with a member that it has never heard of.
//
// Structs are compared along the fields that refer to them, so one that has another name today is
// found; those that nothing refers to, by their ids. Interfaces and constants are never in an
// image, and not looked at.
#ifndef LIVEEXEC_TESTS_COMPAT_SCHEMA_CHANGES_H_
#define LIVEEXEC_TESTS_COMPAT_SCHEMA_CHANGES_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace liveexec::compat {

struct SchemaChange {
  enum class Gravity { kCaution, kRefused };

  Gravity gravity = Gravity::kRefused;
  std::string type;    // "demo-server/state/v1.capnp:KeyspaceImage.Database"
  std::string member;  // "field value.list @4", "enumerant red"; empty: the type itself
  std::string what;    // "was removed"
  std::string advice;  // what to do instead

  std::string ToString() const;
};

// Both are CodeGeneratorRequests in Cap'n Proto's stream framing, as capnp writes them. In the
// order of the released schemas. InvalidArgument: not a CodeGeneratorRequest.
absl::StatusOr<std::vector<SchemaChange>> CompareSchemas(std::string_view released,
                                                         std::string_view today);

// Whether one of `changes` is refused.
bool Refused(const std::vector<SchemaChange>& changes);

}  // namespace liveexec::compat

#endif  // LIVEEXEC_TESTS_COMPAT_SCHEMA_CHANGES_H_
