// What earlier releases wrote is read by today's programs, as they are.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/compat/recorder_program.h"
#include "tests/compat/schema_changes.h"
#include "tests/compat/state_recording.h"
#include "tests/harness/client_swarm.h"
#include "tests/harness/endpoint.h"
#include "tests/harness/random.h"
#include "tests/harness/temp_dir.h"
#include "tests/harness/testing.h"

namespace liveexec::compat {
namespace {

namespace fs = std::filesystem;
using harness::IsOk;
using harness::Must;
using ::testing::Contains;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

constexpr char kGolden[] = "tests/compat/golden";
constexpr char kRecorder[] = "tests/compat/recorder";
constexpr char kEveryComponent[] = "tests/compat/every_component";
const std::vector<std::string> kDemos = {"demo-server/demo-server-v0", "demo-server/demo-server",
                                         "demo-server/demo-server-v2"};

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<std::string> DirectoriesIn(const std::string& path) {
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(path)) {
    if (entry.is_directory()) found.push_back(entry.path().string());
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<std::string> Components(const std::string& recording) {
  std::vector<std::string> names;
  for (const auto& file : fs::directory_iterator(recording)) {
    if (file.path().filename() != kManifestFile) names.push_back(file.path().stem());
  }
  std::sort(names.begin(), names.end());
  return names;
}

TEST(GoldenTest, TodaysSchemasReadWhatEachReleaseWrote) {
  const std::string today = ReadFile("tests/compat/today.schemas");
  const auto releases = DirectoriesIn(kGolden);
  ASSERT_FALSE(releases.empty());
  for (const std::string& release : releases) {
    const auto changes = CompareSchemas(ReadFile(release + "/schemas"), today);
    ASSERT_TRUE(changes.ok()) << release << ": " << changes.status();
    for (const SchemaChange& change : *changes) {
      EXPECT_EQ(change.gravity, SchemaChange::Gravity::kCaution)
          << release << ": " << change.ToString();
    }
  }
}

TEST(GoldenTest, TodaysProgramsReadTheRecordingsOfEachRelease) {
  for (const std::string& release : DirectoriesIn(kGolden)) {
    for (const std::string& recording : DirectoriesIn(release)) {
      const bool demo = recording.find("demo-server") != std::string::npos;
      for (const std::string& binary : demo ? kDemos : std::vector<std::string>{kEveryComponent}) {
        EXPECT_THAT(ReadRecordedState(recording, binary), IsOk()) << binary << " " << recording;
      }
    }
  }
}

class RecordingTest : public harness::ServerTest {
 protected:
  harness::ServerUnderTest& StartEveryComponent() {
    return StartServer({.command = {kEveryComponent, "{dir}/run/control", "{dir}"},
                        .ready_line = "listening on tcp .*:([0-9]+) udp"});
  }
  harness::TempDir work_;
};

TEST_F(RecordingTest, OfARunningServerDisturbsNobodyAndIsReadByItsProgram) {
  harness::ServerUnderTest& server = StartEveryComponent();
  harness::ClientSwarm swarm(harness::Endpoint::Tcp(server.port()), harness::Protocol::kEcho,
                             harness::RunSeed());
  ASSERT_THAT(swarm.AddIdle(5), IsOk());
  ASSERT_THAT(swarm.AddChecking(2), IsOk());
  swarm.Start();
  ASSERT_THAT(swarm.AwaitReplies(5), IsOk());
  const auto components =
      Must(RecordState(server.File("run/control"), kRecorder, work_.File("recording")));
  EXPECT_THAT(components, Contains("streams"));
  EXPECT_THAT(components, Contains("udp"));
  EXPECT_THAT(swarm.AwaitReplies(5), IsOk());
  EXPECT_THAT(swarm.Finish(), harness::SawNoUpgrade());
  EXPECT_THAT(ReadRecordedState(work_.File("recording"), kEveryComponent), IsOk());
  // A release's recording has the same components: none was left out, none is forgotten.
  const std::string release = DirectoriesIn(kGolden).back();
  EXPECT_THAT(components, ElementsAreArray(Components(release + "/every_component")));
}

TEST_F(RecordingTest, IsRefusedByAProgramThatCannotReadIt) {
  const std::string release = DirectoriesIn(kGolden).back();
  const absl::Status other = ReadRecordedState(release + "/every_component", kDemos[1]);
  EXPECT_TRUE(absl::IsFailedPrecondition(other)) << other;
  const absl::Status none = ReadRecordedState(release + "/demo-server", "/bin/true");
  EXPECT_THAT(std::string(none.message()), HasSubstr("without a verdict"));
}

TEST_F(RecordingTest, ThatIsDamagedOrNotWholeIsNotTakenForOneThatWasRefused) {
  const std::string release = DirectoriesIn(kGolden).back();
  const std::string copy = work_.File("copy");
  fs::copy(release + "/demo-server", copy);
  std::string bytes = ReadFile(copy + "/" + kManifestFile);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  std::ofstream(copy + "/" + kManifestFile, std::ios::binary) << bytes;
  EXPECT_TRUE(absl::IsDataLoss(ReadRecordedState(copy, kDemos[1])));
  fs::remove(copy + "/" + kManifestFile);
  EXPECT_TRUE(absl::IsNotFound(ReadRecordedState(copy, kDemos[1])));
}

TEST_F(RecordingTest, WhoseImageWasChangedIsRefused) {
  const std::string copy = work_.File("copy");
  fs::copy(DirectoriesIn(kGolden).back() + "/demo-server", copy);
  std::string bytes = ReadFile(copy + "/keyspace.image");
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  std::ofstream(copy + "/keyspace.image", std::ios::binary) << bytes;
  const absl::Status status = ReadRecordedState(copy, kDemos[1]);
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
}

TEST(RecorderTest, HasRoomForTheNotesOfTheLargestProgram) {
  ProgramNote note{.application = std::string(64, 'a'), .version = std::string(64, '1')};
  for (int i = 0; i < 256; ++i) {
    note.components.push_back({.name = std::string(60, 'c') + std::to_string(1000 + i),
                               .writes = 4000000000u,
                               .reads_oldest = 3999999999u});
  }
  const auto bytes = NoteBytes(note, kRecorderNoteSize);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  ProgramNote read;
  ASSERT_THAT(ParseNoteSegment({bytes->data(), bytes->size()}, 4, read), IsOk());
  EXPECT_EQ(read.application, note.application);
  EXPECT_EQ(read.components.size(), note.components.size());
  for (size_t size = bytes->size() - 40; size < bytes->size(); size += 4)
    EXPECT_TRUE(NoteBytes(note, size).ok()) << size;
}

}  // namespace
}  // namespace liveexec::compat
