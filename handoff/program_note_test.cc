#include "handoff/program_note.h"

#include <elf.h>

#include <cstdint>
#include <cstring>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

// This test program's own notes, several in one file: what OwnProgramNote finds.
LIVEEXEC_APPLICATION("note-test", "1.2.3+b~1");
LIVEEXEC_COMPONENT("keyspace", 3, 1);
LIVEEXEC_COMPONENT("clients_2", 1, 1);
LIVEEXEC_DROPS_COMPONENT("statistics");
LIVEEXEC_SECURITY_EPOCH(7);

namespace liveexec {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

// One note as the linker lays it out.
std::string Note(std::string owner, uint32_t type, std::string_view description,
                 size_t alignment = 4) {
  owner.push_back('\0');
  const Elf64_Nhdr header = {static_cast<uint32_t>(owner.size()),
                             static_cast<uint32_t>(description.size()), type};
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof(header));
  bytes += owner;
  while (bytes.size() % alignment != 0) bytes.push_back('\0');
  bytes += description;
  while (bytes.size() % alignment != 0) bytes.push_back('\0');
  return bytes;
}

absl::Status Parse(const std::string& segment, ProgramNote& note, uint64_t alignment = 4) {
  return ParseNoteSegment(absl::MakeConstSpan(segment.data(), segment.size()), alignment, note);
}

TEST(OwnProgramNote, FindsAllNotesOfTheRunningProgram) {
  auto note = OwnProgramNote();
  ASSERT_TRUE(note.ok()) << note.status();
  EXPECT_EQ(note->application, "note-test");
  EXPECT_EQ(note->version, "1.2.3+b~1");
  EXPECT_EQ(note->framework_abi, kFrameworkAbi);
  EXPECT_EQ(note->security_epoch, 7u);
  EXPECT_THAT(note->dropped_components, ElementsAre("statistics"));
  ASSERT_THAT(note->components, SizeIs(2));
  const ComponentSchema* keyspace = note->FindComponent("keyspace");
  ASSERT_NE(keyspace, nullptr);
  EXPECT_EQ(keyspace->writes, 3u);
  EXPECT_EQ(keyspace->reads_oldest, 1u);
  EXPECT_NE(note->FindComponent("clients_2"), nullptr);
  EXPECT_EQ(note->FindComponent("statistics"), nullptr);
}

TEST(ParseNote, AcceptsWellFormedText) {
  ProgramNote note;
  EXPECT_TRUE(ParseNote("application\techo\t1.0\t1", note).ok());
  EXPECT_TRUE(ParseNote("component\ta\t4294967295\t0", note).ok());
  EXPECT_TRUE(ParseNote("drops\tb", note).ok());
  EXPECT_TRUE(ParseNote("epoch\t18446744073709551615", note).ok());
  EXPECT_EQ(note.components[0].writes, 4294967295u);
  EXPECT_EQ(note.security_epoch, 18446744073709551615u);
}

TEST(ParseNote, SkipsKindsAndFieldsOfLaterReleases) {
  ProgramNote note;
  EXPECT_TRUE(ParseNote("futuristic\theap\t77", note).ok());
  EXPECT_TRUE(ParseNote("", note).ok());
  EXPECT_TRUE(ParseNote("component\ta\t2\t1\tlater", note).ok());
  EXPECT_THAT(note.components, SizeIs(1));
}

TEST(ParseNote, ReadsTheHalvesOfAResidentLayout) {
  ProgramNote note;
  EXPECT_TRUE(ParseNote("resident\tmemory\t1\t5", note).ok());
  EXPECT_TRUE(note.HasResidentLayouts("memory"));
  EXPECT_TRUE(note.ReadsResidentLayout("memory", (uint64_t{1} << 31) + 5));
  EXPECT_FALSE(note.ReadsResidentLayout("memory", 5));
  EXPECT_FALSE(ParseNote("resident\tmemory\t1", note).ok());
  EXPECT_FALSE(ParseNote("resident\tmemory\t2147483648\t5", note).ok());
  EXPECT_FALSE(ParseNote("resident\t\t1\t5", note).ok());
}

TEST(ParseNote, KeepsTheHighestSecurityEpoch) {
  ProgramNote note;
  ASSERT_TRUE(ParseNote("epoch\t5", note).ok());
  ASSERT_TRUE(ParseNote("epoch\t3", note).ok());
  EXPECT_EQ(note.security_epoch, 5u);
}

class MalformedNote : public testing::TestWithParam<std::string> {};

TEST_P(MalformedNote, IsRefused) {
  ProgramNote note;
  EXPECT_EQ(ParseNote(GetParam(), note).code(), absl::StatusCode::kInvalidArgument) << GetParam();
}

INSTANTIATE_TEST_SUITE_P(
    ParseNote, MalformedNote,
    testing::Values("application", "application\techo", "application\techo\t1.0",
                    "application\t\t1.0\t1", "application\tEcho\t1.0\t1", "application\techo\t\t1",
                    "application\techo\t1 0\t1", "application\techo\t1.0\tx",
                    "application\techo\t1.0\t", "application\t" + std::string(65, 'a') + "\t1\t1",
                    std::string("application\te\0o\t1\t1", 18), "component", "component\ta",
                    "component\ta\t1", "component\ta\t1\t2", "component\ta\t-1\t-1",
                    "component\ta\t+1\t1", "component\ta\t 1\t1", "component\ta\t4294967296\t1",
                    "component\t../a\t1\t1", "drops", "drops\t", "drops\tA", "epoch", "epoch\t",
                    "epoch\t-1", "epoch\t18446744073709551616",
                    "drops\t" + std::string(2000, 'a')));

TEST(ParseNote, RefusesDuplicates) {
  ProgramNote note;
  ASSERT_TRUE(ParseNote("application\techo\t1.0\t1", note).ok());
  EXPECT_FALSE(ParseNote("application\techo\t1.0\t1", note).ok());
  ASSERT_TRUE(ParseNote("component\ta\t1\t1", note).ok());
  EXPECT_FALSE(ParseNote("component\ta\t2\t1", note).ok());
}

TEST(ParseNote, BoundsTheNumberOfComponents) {
  ProgramNote note;
  absl::Status status;
  int accepted = 0;
  while (accepted < 1000 && status.ok()) {
    status = ParseNote("component\tc" + std::to_string(accepted) + "\t1\t1", note);
    if (status.ok()) ++accepted;
  }
  EXPECT_EQ(accepted, 256);
}

TEST(ParseNoteSegment, TakesOurNotesAndTheBuildIdAmongOthers) {
  ProgramNote note;
  std::string segment = Note("GNU", NT_GNU_BUILD_ID, "\x01\xab\xff") + Note("other", 1, "xyz") +
                        Note("liveexec", 1, "application\techo\t1.0\t1") +
                        Note("liveexec", 99, "application\tother-type\t1.0\t1") +
                        Note("GNU", 99, "abi");
  ASSERT_TRUE(Parse(segment, note).ok());
  EXPECT_EQ(note.build_id, "01abff");
  EXPECT_EQ(note.application, "echo");
}

TEST(ParseNoteSegment, PadsToEightInSegmentsAlignedToEight) {
  ProgramNote note;
  std::string segment = Note("other", 5, "x", 8) + Note("liveexec", 1, "epoch\t4", 8);
  ASSERT_TRUE(Parse(segment, note, 8).ok());
  EXPECT_EQ(note.security_epoch, 4u);
}

TEST(ParseNoteSegment, AcceptsALastNoteWithoutPadding) {
  ProgramNote note;
  std::string segment = Note("liveexec", 1, "epoch\t4");
  while (segment.back() == '\0') segment.pop_back();
  ASSERT_TRUE(Parse(segment, note).ok());
  EXPECT_EQ(note.security_epoch, 4u);
}

TEST(ParseNoteSegment, RefusesSizesBeyondTheSegment) {
  const std::string good = Note("liveexec", 1, "epoch\t4");
  for (size_t field : {size_t{0}, size_t{4}}) {
    for (uint32_t size : {0x10000u, 0x7fffffffu, 0xfffffffdu, 0xffffffffu}) {
      std::string bad = good;
      std::memcpy(bad.data() + field, &size, sizeof(size));
      ProgramNote note;
      EXPECT_FALSE(Parse(bad, note).ok()) << field << " " << size;
    }
  }
}

TEST(ParseNoteSegment, SurvivesEveryTruncationAndEveryAlignment) {
  const std::string whole = Note("GNU", NT_GNU_BUILD_ID, "abcdefgh") +
                            Note("liveexec", 1, "application\techo\t1.0\t1") +
                            Note("liveexec", 1, "component\ta\t2\t1");
  for (size_t size = 0; size <= whole.size(); ++size) {
    for (uint64_t alignment : {uint64_t{0}, uint64_t{1}, uint64_t{4}, uint64_t{8}, ~uint64_t{0}}) {
      ProgramNote note;
      // A copy of that size, so that a sanitizer sees any byte read beyond it.
      (void)Parse(std::string(whole, 0, size), note, alignment);
      EXPECT_LE(note.components.size(), 1u);
    }
  }
}

TEST(ParseNoteSegment, BoundsTheNumberOfNotes) {
  std::string segment;
  for (int i = 0; i < 5000; ++i) segment += Note("x", 1, "");
  ProgramNote note;
  EXPECT_FALSE(Parse(segment, note).ok());
}

}  // namespace
}  // namespace liveexec
