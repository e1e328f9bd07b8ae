// Each kind of change to a schema: what an earlier release could not read is refused, with the
// struct and the field, and what it can read is accepted. The schemas go through capnp itself.
#include "tests/compat/schema_changes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "tests/harness/child_process.h"
#include "tests/harness/temp_dir.h"

namespace liveexec::compat {
namespace {

using ::testing::HasSubstr;

constexpr char kReleased[] = R"(@0xa1b2c3d4e5f60718;
struct State {
  count @0 :UInt32;
  name @1 :Text;
  rows @2 :List(Row);
  ready @3 :Bool = true;
  value :union {
    none @4 :Void;
    number @5 :Int64;
    row @6 :Row;
  }
  limits :group {
    low @7 :UInt32;
    high @8 :UInt32 = 100;
  }
  colour @9 :Colour;
  raw @10 :Data;
  union {
    left @11 :Text;
    right @12 :Text;
  }
}
struct Row {
  key @0 :Data;
  cells @1 :List(UInt16);
}
enum Colour { red @0; green @1; }
)";

std::string Compile(const std::string& schema) {
  const harness::TempDir directory;
  std::ofstream(directory.File("state.capnp")) << schema;
  const auto result = harness::RunCommand(
      {"/bin/sh", "-c", absl::StrCat("cd ", directory.path(), " && capnp compile -o- state.capnp")},
      absl::Seconds(60));
  if (!result.ok() || !result->exit.ok()) {
    ADD_FAILURE() << (result.ok() ? result->errors : result.status().ToString()) << schema;
    return "";
  }
  return result->output;
}

// What is said when `from` in the schema becomes `to`.
std::vector<SchemaChange> Changing(const std::string& from, const std::string& to) {
  const std::string changed = absl::StrReplaceAll(kReleased, {{from, to}});
  EXPECT_NE(changed, kReleased) << from;
  static const std::string released = Compile(kReleased);
  const auto changes = CompareSchemas(released, Compile(changed));
  EXPECT_TRUE(changes.ok()) << changes.status();
  return changes.ok() ? *changes : std::vector<SchemaChange>();
}

std::string Text(const std::vector<SchemaChange>& changes) {
  return absl::StrJoin(changes, "\n", [](std::string* out, const SchemaChange& change) {
    absl::StrAppend(out, change.ToString());
  });
}

struct Case {
  const char* name;
  const char* from;
  const char* to;
  const char* said;  // of what is refused or a caution; empty: nothing
};

std::string CaseName(const ::testing::TestParamInfo<Case>& info) { return info.param.name; }

class RefusedChangeTest : public ::testing::TestWithParam<Case> {};

TEST_P(RefusedChangeTest, IsNamedWithItsFieldAndWhatToDo) {
  const auto changes = Changing(GetParam().from, GetParam().to);
  EXPECT_TRUE(Refused(changes)) << Text(changes);
  EXPECT_THAT(Text(changes), HasSubstr(absl::StrCat("refused: state.capnp:", GetParam().said)));
}

INSTANTIATE_TEST_SUITE_P(
    All, RefusedChangeTest,
    ::testing::Values(Case{"RetypedUnionMember", "    right @12 :Text;\n", "    more @12 :Bool;\n",
                           "State, field right @12: was Text and is Bool"},
                      Case{"RemovedLastField", "  cells @1 :List(UInt16);\n", "",
                           "Row, field cells @1: was removed"},
                      Case{"RemovedEnumerant", "green @1; ", "",
                           "Colour, enumerant green @1: was removed"},
                      Case{"RetypedField", "count @0 :UInt32", "count @0 :UInt64",
                           "State, field count @0: was UInt32 and is UInt64"},
                      Case{"ChangedSign", "number @5 :Int64", "number @5 :UInt64",
                           "State, field value.number @5: was Int64 and is UInt64"},
                      Case{"RetypedElements", "List(UInt16)", "List(UInt32)",
                           "Row, field cells @1: was List(UInt16) and is List(UInt32)"},
                      Case{"TextForData", "raw @10 :Data", "raw @10 :Text",
                           "State, field raw @10: was Data and is Text"},
                      Case{"StructForPrimitive", "name @1 :Text", "name @1 :Row",
                           "State, field name @1: was Text and is Row"},
                      Case{"ListForOne", "rows @2 :List(Row)", "rows @2 :Row",
                           "State, field rows @2: was List(Row) and is Row"},
                      Case{"SwappedNumbers", "low @7 :UInt32;\n    high @8 :UInt32 = 100;",
                           "low @8 :UInt32;\n    high @7 :UInt32 = 100;",
                           "State, field limits.low @7: has number @8"},
                      Case{"SwappedEnumerants", "red @0; green @1;", "green @0; red @1;",
                           "Colour, enumerant red @0: has number 1"},
                      Case{"ChangedDefault", "ready @3 :Bool = true", "ready @3 :Bool = false",
                           "State, field ready @3: has another default"},
                      Case{"DroppedDefault", "high @8 :UInt32 = 100", "high @8 :UInt32",
                           "State, field limits.high @8: has another default"},
                      Case{"MovedOutOfItsUnion", "    right @12 :Text;\n  }\n",
                           "  spare @13 :Text; }\n  right @12 :Text;\n",
                           "State, field right @12: has another place among the members"},
                      Case{"MovedIntoAUnionWithOthers", "  colour @9 :Colour;\n  raw @10 :Data;\n",
                           "  extra :union { colour @9 :Colour; raw @10 :Data; }\n",
                           "State, field raw @10: was moved into a union"},
                      Case{"StructThatBecameAnEnum", "enum Colour { red @0; green @1; }",
                           "struct Colour { red @0 :Bool; green @1 :Bool; }",
                           "State, field colour @9: was Colour and is Colour"}),
    CaseName);

class AcceptedChangeTest : public ::testing::TestWithParam<Case> {};

TEST_P(AcceptedChangeTest, SaysNothingOrACaution) {
  const auto changes = Changing(GetParam().from, GetParam().to);
  EXPECT_FALSE(Refused(changes)) << Text(changes);
  if (std::string(GetParam().said).empty()) {
    EXPECT_EQ(Text(changes), "");
  } else {
    EXPECT_THAT(Text(changes), HasSubstr(absl::StrCat("caution: state.capnp:", GetParam().said)));
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, AcceptedChangeTest,
    ::testing::Values(
        Case{"Remark", "struct Row {", "# A remark.\nstruct Row {", ""},
        Case{"NewField", "  raw @10 :Data;\n", "  raw @10 :Data;\n  more @13 :Text;\n", ""},
        Case{"NewFieldWithADefault", "  raw @10 :Data;\n",
             "  raw @10 :Data;\n  more @13 :UInt8 = 7;\n", ""},
        Case{"NewStruct", "struct Row {", "struct Other { a @0 :Text; }\nstruct Row {", ""},
        Case{"RenamedField", "count @0", "obsoleteCount @0", ""},
        Case{"RenamedUnionMember", "number @5", "integer @5", ""},
        Case{"NewUnion", "  raw @10 :Data;\n",
             "  raw @10 :Data;\n  extra :union { a @13 :Text; b @14 :Text; }\n", ""},
        Case{"MovedIntoAUnionAsItsFirst", "  colour @9 :Colour;\n",
             "  extra :union { colour @9 :Colour; more @13 :Text; }\n", ""},
        Case{"BytesAsAList", "raw @10 :Data", "raw @10 :List(UInt8)", ""},
        Case{"NewUnionMember", "    row @6 :Row;\n", "    row @6 :Row;\n    more @13 :Text;\n",
             "State, field value.more @13: is a new member of a union"},
        Case{"NewEnumerant", "green @1;", "green @1; blue @2;",
             "Colour, enumerant blue @2: is new"}),
    CaseName);

TEST(SchemaChangesTest, AStructThatNothingRefersToAnyMoreIsGone) {
  const auto changes = Changing("struct State {", "struct Condition {");
  EXPECT_TRUE(Refused(changes));
  EXPECT_THAT(Text(changes), HasSubstr("refused: state.capnp:State: is gone; put it back; if it "
                                       "only has another name today, give that one its old id"));
}

TEST(SchemaChangesTest, AStructThatHasAnotherNameIsComparedUnderTheOldOne) {
  std::string changed = absl::StrReplaceAll(kReleased, {{"Row", "Line"}});
  EXPECT_EQ(Text(*CompareSchemas(Compile(kReleased), Compile(changed))), "");
  changed = absl::StrReplaceAll(changed, {{"key @0 :Data", "key @0 :UInt8"}});
  EXPECT_THAT(Text(*CompareSchemas(Compile(kReleased), Compile(changed))),
              HasSubstr("state.capnp:Row, field key @0: was Data and is UInt8"));
}

TEST(SchemaChangesTest, WhatIsNotASchemaIsSaidToBeNone) {
  const std::string released = Compile(kReleased);
  for (const std::string& bad : {std::string(), std::string("no schema at all, just some text"),
                                 released.substr(0, released.size() / 2)}) {
    EXPECT_FALSE(CompareSchemas(bad, released).ok());
    EXPECT_FALSE(CompareSchemas(released, bad).ok());
  }
}

}  // namespace
}  // namespace liveexec::compat
