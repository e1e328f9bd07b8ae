#include "handoff/compatibility.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "handoff/error_code.h"

namespace liveexec {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

ProgramNote Server(std::vector<ComponentSchema> components = {{"keys", 2, 1}}) {
  ProgramNote note;
  note.application = "server";
  note.version = "1.0";
  note.framework_abi = 1;
  note.security_epoch = 5;
  note.components = std::move(components);
  return note;
}

struct Case {
  const char* name;
  ProgramNote running;
  ProgramNote candidate;
  std::vector<std::string> codes;  // of the refusals
  const char* says;                // in the first refusal or, when there is none, the first note
};

ProgramNote With(ProgramNote note, void (*change)(ProgramNote&)) {
  change(note);
  return note;
}

std::vector<Case> Cases() {
  return {
      {"TheSameProgram", Server(), Server(), {}, ""},
      {"AnotherApplication",
       Server(),
       With(Server(), [](ProgramNote& note) { note.application = "other"; }),
       {"E_APP"},
       "not server"},
      {"AnotherApplicationHidesEverythingElse",
       Server(),
       With(Server({}),
            [](ProgramNote& note) {
              note.application = "other";
              note.framework_abi = 9;
            }),
       {"E_APP"},
       "other"},
      {"AnotherFrameworkAbi",
       Server(),
       With(Server(), [](ProgramNote& note) { note.framework_abi = 2; }),
       {"E_ABI"},
       "ABI 2"},
      {"ALowerSecurityEpoch",
       Server(),
       With(Server(), [](ProgramNote& note) { note.security_epoch = 4; }),
       {"E_DOWNGRADE"},
       "epoch 4"},
      {"AHigherSecurityEpoch",
       Server(),
       With(Server(), [](ProgramNote& note) { note.security_epoch = 6; }),
       {},
       ""},
      {"ANewerSchemaThatReadsOurs",
       Server({{"keys", 2, 1}}),
       Server({{"keys", 5, 2}}),
       {},
       "schema 2 to 5"},
      {"ANewerSchemaThatNoLongerReadsOurs",
       Server({{"keys", 2, 1}}),
       Server({{"keys", 5, 3}}),
       {"E_SCHEMA"},
       "no longer reads it"},
      {"AnOlderSchema", Server({{"keys", 2, 1}}), Server({{"keys", 1, 1}}), {"E_SCHEMA"}, "older"},
      {"OurOwnOldestSchemaDoesNotMatter",
       Server({{"keys", 2, 2}}),
       Server({{"keys", 2, 1}}),
       {},
       ""},
      {"AComponentThatIsMissing",
       Server({{"keys", 2, 1}, {"clients", 1, 1}}),
       Server(),
       {"E_SCHEMA"},
       "LIVEEXEC_DROPS_COMPONENT(\"clients\")"},
      {"AComponentThatIsDropped",
       Server({{"clients", 1, 1}}),
       With(Server({}), [](ProgramNote& note) { note.dropped_components = {"clients"}; }),
       {},
       "clients will be dropped"},
      {"ANewComponent", Server({}), Server(), {}, "keys is new"},
      {"SeveralReasonsTheWeightiestFirst",
       Server({{"keys", 2, 1}, {"clients", 1, 1}}),
       With(Server({{"keys", 1, 1}}),
            [](ProgramNote& note) {
              note.security_epoch = 0;
              note.framework_abi = 2;
            }),
       {"E_ABI", "E_DOWNGRADE", "E_SCHEMA", "E_SCHEMA"},
       "ABI"},
  };
}

class Compare_ : public testing::TestWithParam<Case> {};

TEST_P(Compare_, Decides) {
  const Case& test = GetParam();
  Compatibility result = Compare(test.running, test.candidate);
  std::vector<std::string> codes;
  for (const Refusal& refusal : result.refusals) codes.push_back(refusal.code);
  EXPECT_THAT(codes, ElementsAreArray(test.codes));
  EXPECT_EQ(result.accepted(), test.codes.empty());
  if (!test.codes.empty()) {
    EXPECT_THAT(result.refusals[0].sentence, HasSubstr(test.says));
    EXPECT_EQ(CodeOf(result.ToStatus()), test.codes[0]);
    EXPECT_THAT(std::string(result.ToStatus().message()), HasSubstr(test.says));
  } else {
    EXPECT_TRUE(result.ToStatus().ok());
    if (*test.says != '\0') {
      ASSERT_FALSE(result.notes.empty());
      EXPECT_THAT(result.notes[0], HasSubstr(test.says));
    } else {
      EXPECT_TRUE(result.notes.empty());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Compatibility, Compare_, testing::ValuesIn(Cases()),
                         [](const auto& test) { return test.param.name; });

TEST(Compare, SaysWhichWayResidentMemoryGoesAndNeverRefusesItsLayout) {
  ProgramNote running = Server({{"memory", 1, 1}});
  running.resident_layouts = {{"memory", 7}};
  EXPECT_THAT(Compare(running, running).notes, ElementsAreArray({HasSubstr("crosses as it is")}));
  ProgramNote other = running;
  other.resident_layouts = {{"memory", 8}};
  EXPECT_TRUE(Compare(running, other).accepted());
  EXPECT_THAT(Compare(running, other).notes, ElementsAreArray({HasSubstr("read anew")}));
  EXPECT_TRUE(Compare(running, Server({})).accepted()) << "a program without such memory";
}

TEST(Compare, AllowsADowngradeWhenTold) {
  ProgramNote candidate = Server();
  candidate.security_epoch = 1;
  Compatibility result = Compare(Server(), candidate, Downgrades::kAllow);
  EXPECT_TRUE(result.accepted());
  ASSERT_EQ(result.notes.size(), 1u);
  EXPECT_THAT(result.notes[0], HasSubstr("epoch"));
}

}  // namespace
}  // namespace liveexec
